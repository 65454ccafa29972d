"""Leases, renewed with every report (row H7; design: Quota).

What always holds: used + outstanding <= limit for every user, checked here before anything is given; what a
node said in an old report frees nothing, since it may have been given more in the meantime; a node is lent
nothing of users who are not placed on it.
"""

import dataclasses
import logging
from collections.abc import Iterable, Mapping

from collector.domain import leases as rules
from collector.domain.changes import Change
from collector.domain.lane import Source
from collector.domain.leases import Ceilings, Holding
from collector.domain.reports import Received
from collector.domain.users import User
from collector.store import leases
from collector.store.session import Session
from shared import logs
from shared.messages import Lease
from shared.names import NodeId, UserId

LOGGER = logging.getLogger(__name__)

#: A ledger that moved a byte of a user so recently counts as active for him.
_ACTIVE_MS = 30_000
_NOTHING = Holding(seen=rules.Bytes(), ceilings=Ceilings())


def renew(
    session: Session, source: Source, report: Received | None, users: Mapping[UserId, User], now_ms: int
) -> Change[list[Lease]]:
    """Take back what the report returns, and give its users what is due to them.

    Without a report nothing changes: it was not the newest. The nodes of the change are asked to give idle
    leases back that this one needs.
    """
    for number in users:
        source.quiet.pop(number, None)
    if report is None:
        return Change([])
    limited = {number: user for number, user in users.items() if user.limited}
    returned = {lease.user: lease for lease in report.returned if lease.user in users}
    concerned = limited.keys() | returned.keys()
    if not concerned:
        return Change([])
    held = leases.holdings(session, concerned, active_since_ms=now_ms - _ACTIVE_MS)
    for number in concerned:
        mine = held.setdefault(number, {}).get(source.number, _NOTHING)
        held[number][source.number] = _taken_back(mine, returned.get(number))
    here_node = NodeId(source.node)
    leases.returned(session, here_node, returned)
    nodes = leases.nodes_of(session, limited)
    here = leases.placed(session, here_node, limited)
    served = [user for user in limited.values() if user.served and user.id in here]
    given = {user.id: _given(user, held[user.id], source.number, nodes.get(user.id, 1)) for user in served}
    kept = {number: held[number][source.number].ceilings for number in returned}
    leases.save(session, source.number, {**kept, **given})
    for user in served:
        held[user.id][source.number] = dataclasses.replace(
            held[user.id][source.number], ceilings=given[user.id]
        )
        source.quiet[user.id] = rules.quiet_bytes(
            user.limits, user.used, held[user.id], source.number, nodes.get(user.id, 1)
        )
    lent = [_lease(limited[number], ceilings, nodes.get(number, 1)) for number, ceilings in given.items()]
    return Change(lent, _recalled(session, served, held, source.number))


def _recalled(
    session: Session, users: Iterable[User], held: leases.Holdings, ledger: int
) -> frozenset[NodeId]:
    asked: frozenset[NodeId] = frozenset()
    for user in users:
        if ledgers := rules.to_recall(user.limits, user.used, held[user.id], ledger):
            asked |= leases.recall(session, user.id, ledgers)
    return asked


def _taken_back(mine: Holding, returned: Lease | None) -> Holding:
    if returned is None:
        return mine
    left = rules.lowered(mine.ceilings, Ceilings(returned.total, returned.up, returned.down))
    return dataclasses.replace(mine, ceilings=left, active=False)


def _given(user: User, holdings: Mapping[int, Holding], ledger: int, nodes: int) -> Ceilings:
    ceilings = rules.granted(user.limits, user.used, holdings, ledger, nodes)
    after = {**holdings, ledger: dataclasses.replace(holdings[ledger], ceilings=ceilings)}
    before = holdings[ledger].ceilings
    # What nodes let pass between two readings is booked beyond the limit; nothing more is given then.
    if ceilings != before and not rules.kept(user.limits, user.used, after):
        logs.event(LOGGER, logging.ERROR, "lease_refused", user=user.id, ledger=ledger)
        return before
    return ceilings


def _lease(user: User, ceilings: Ceilings, nodes: int) -> Lease:
    spare = rules.spare(user.limits, nodes)
    return Lease(user.id, user.terms, spare, *ceilings)
