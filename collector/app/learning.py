"""Learning what nodes hold after a backup may have been restored (row H7; design: Quota).

What always holds: what a node has told is kept in the transaction that books the report it came with, before
that report is lent anything; it replaces what was known.
"""

import logging

from collector.app import lending
from collector.domain import access, continuity
from collector.domain import learning as judging
from collector.domain.events import COLLECTOR, Event, Kind
from collector.domain.lane import Source
from collector.domain.learning import Verdict, Word
from collector.domain.leases import Ceilings
from collector.domain.payloads import RestoreProven
from collector.store import events, learning, leases, users
from collector.store.session import Session
from shared import logs
from shared.names import MAX_ID, NodeId

LOGGER = logging.getLogger(__name__)


def begin(session: Session, last_written_ms: int | None, now_ms: int) -> None:
    """Ask every node what it holds, where the database may be an older one than that of the last start."""
    suspected = continuity.may_be_restored(last_written_ms, now_ms)
    learning.note(session, suspected=suspected)
    if suspected:
        learning.ask(session, None, now_ms)
        logs.event(LOGGER, logging.WARNING, "restore_suspected", last_written_ms=last_written_ms)


def hear(session: Session, source: Source, word: Word, now_ms: int) -> None:
    """Take what the newest report of a ledger says its node holds."""
    verdict = judging.heard(word, source.serial, source.learning_ms)
    if verdict is Verdict.FORGOTTEN:
        _ask(session, source, word, now_ms)
    if judging.stale(verdict, source.learning_ms, now_ms):
        learning.renew(session, source, now_ms)
    if verdict in (Verdict.TOLD, Verdict.LEARNED):
        _keep(session, source, word, now_ms)
    if verdict is Verdict.LEARNED:
        learning.learned(session, source, max(word.serial, source.serial))
        logs.event(LOGGER, logging.INFO, "node_learned", node=source.node)


def _ask(session: Session, source: Source, word: Word, now_ms: int) -> None:
    """The first proof since the start concerns all nodes, later ones one node: none can stop the others."""
    everywhere = not learning.suspected(session)
    learning.note(session, suspected=True)
    learning.ask(session, None if everywhere else NodeId(source.node), now_ms)
    source.learning_ms = now_ms
    figures = {"node": source.node, "serial": word.serial, "known": source.serial, "everywhere": everywhere}
    logs.event(LOGGER, logging.WARNING, "restore_proven", **figures)
    proven = RestoreProven(node=source.node, serial=word.serial, known=source.serial, everywhere=everywhere)
    event = Event(at_ms=now_ms, actor=access.SYSTEM, kind=Kind.RESTORE_PROVEN, subject=COLLECTOR, data=proven)
    events.append(session, event)


def _keep(session: Session, source: Source, word: Word, now_ms: int) -> None:
    told = {one.user: Ceilings(one.total, one.up, one.down) for one in word.held if 0 < one.user <= MAX_ID}
    known = leases.between(session, source, word.after, word.last)
    others = [user for user in told.keys() | known.keys() if judging.differs(known.get(user), told.get(user))]
    people = {
        number: user
        for number, user in users.among(session, others).items()
        if user.limited or number in known
    }
    session.hot.forget(people)
    lending.replace(session, source, told, people, now_ms)
