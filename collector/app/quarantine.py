"""Held rows: shown to admins, who bill them or take them as a new base."""

import dataclasses

from collector.app import phases
from collector.app import users as people
from collector.domain import metering, refusals, standing
from collector.domain.access import Actor, Role
from collector.domain.changes import Change
from collector.domain.events import Event, Kind, Subject, Thing
from collector.domain.lane import Source
from collector.domain.metering import Charge, Key
from collector.domain.payloads import HeldRow
from collector.domain.quarantine import Cause, Decision, Held
from collector.store import endpoints, events, meters, quarantine, users
from collector.store.session import Session
from shared.messages import Usage
from shared.names import EndpointId, LedgerId, UserId

__all__ = ["Held", "accept", "dismiss", "every", "hold"]


def every(session: Session) -> list[Held]:
    """All held rows, the open ones first."""
    return quarantine.every(session)


def hold(session: Session, held: Held, now_ms: int) -> None:
    """Keep a row of a report; only the first of its repeats is an event."""
    if number := quarantine.hold(session, held):
        reporter = Actor(Role.NODE, held.node)
        _note(session, dataclasses.replace(held, id=number), Kind.QUARANTINE_HELD, reporter, now_ms)


def accept(session: Session, number: int, actor: Actor, now_ms: int) -> Change[None]:
    """Bill the latest totals offered for a meter that was too fast to be believed."""
    held = _open(session, number)
    if held.cause is not Cause.TOO_FAST:
        raise refusals.conflict("only a row that was too fast can be billed; dismiss this one")
    source, charge = _offered(session, held, now_ms)
    before = users.among(session, [charge.key.user])
    meters.save(session, source, [charge])
    earlier = before[charge.key.user]
    present = standing.advanced(earlier, now_ms)
    after = standing.charged(present, charge.up, charge.down, now_ms)
    _close(session, held, Decision.ACCEPTED, actor, now_ms)
    billed = {after.manager: (charge.up, charge.down)} if after.manager is not None else {}
    stopping = bool(billed) and phases.charge(session, billed, now_ms)
    steps = [(earlier, present), (present, after)]
    moved = people.settle(session, before, [after], steps, actor, now_ms)
    return Change(None, moved, managers=stopping)


def dismiss(session: Session, number: int, actor: Actor, now_ms: int) -> Change[None]:
    """Do not bill a held row; its totals become the new base, so that later bytes are billed again."""
    held = _open(session, number)
    if held.cause is Cause.TOO_FAST:
        meters.rebase(session, *_offered(session, held, now_ms))
    _close(session, held, Decision.DISMISSED, actor, now_ms)
    return Change(None)


def _open(session: Session, number: int) -> Held:
    held = quarantine.one(session, number)
    if held is None:
        raise refusals.not_found("held row", number)
    if held.decision is not None:
        raise refusals.conflict(f"this row was {held.decision.value} already")
    return held


def _offered(session: Session, held: Held, now_ms: int) -> tuple[Source, Charge]:
    """The charge up to the totals offered."""
    row = Usage(UserId(held.user or 0), EndpointId(held.endpoint or 0), held.up or 0, held.down or 0)
    source = meters.source(session, LedgerId(held.ledger), held.node, now_ms)
    seen = meters.seen(session, source.number, [row.user]).get(Key(row.user, row.endpoint))
    factor = endpoints.factors(session, held.node)[row.endpoint]
    return source, metering.raised(row, seen, factor, now_ms, now_ms)


def _close(session: Session, held: Held, decision: Decision, actor: Actor, now_ms: int) -> None:
    quarantine.decide(session, held.id, decision)
    _note(session, held, Kind[f"QUARANTINE_{decision.name}"], actor, now_ms)


def _note(session: Session, held: Held, kind: Kind, actor: Actor, now_ms: int) -> None:
    data = HeldRow(
        node=held.node,
        user=held.user,
        endpoint=held.endpoint,
        up=held.up,
        down=held.down,
        cause=held.cause,
    )
    subject = Subject(Thing.QUARANTINE, held.id)
    events.append(session, Event(at_ms=now_ms, actor=actor, kind=kind, subject=subject, data=data))
