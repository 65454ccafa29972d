"""Leases, renewed with every report (rows H7, H12; design: Quota).

What always holds: used + outstanding <= limit for every user, and used + held <= limit for every manager
above him, checked here before anything is given; what a node said in an old report frees nothing, since it
may have been given more in the meantime; a node is lent nothing of users who are not placed on it, nor of
those of whom, or of whose managers, a node may hold what is not known.
"""

import dataclasses
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from collector.domain import learning as judging
from collector.domain import leases as rules
from collector.domain import pools
from collector.domain.changes import Change
from collector.domain.lane import Source
from collector.domain.leases import Bytes, Ceilings, Holding
from collector.domain.pools import Pool
from collector.domain.reports import Received
from collector.domain.users import User
from collector.store import learning, leases, managers
from collector.store.session import Session
from shared import logs
from shared.messages import Lease
from shared.names import ManagerId, NodeId, UserId

LOGGER = logging.getLogger(__name__)

#: A ledger that moved a byte of a user so recently counts as active for him.
_ACTIVE_MS = 30_000
_ENDLESS = Ceilings()
_NOTHING = Holding(seen=Bytes(), ceilings=_ENDLESS)


class Above:
    """The managers above users, with what leases hold of them while a report is worked on."""

    def __init__(self, session: Session, users: Iterable[User]) -> None:
        wanted = {user.manager for user in users if user.manager is not None}
        chains = managers.chains(session, wanted) if wanted else {}
        self._lines = {leaf: [one.id for one in line] for leaf, line in chains.items()}
        self._pools = {
            one.id: Pool(one.limits, one.used, one.held) for line in chains.values() for one in line
        }
        self._more: dict[ManagerId, Bytes] = {}

    def of(self, user: User) -> list[Pool]:
        """The pools that a user's leases are taken from."""
        return [self._pools[one] for one in self._line(user)]

    def limiting(self, user: User) -> set[ManagerId]:
        """The managers whose limits he shares."""
        return {one for one in self._line(user) if self._pools[one].limits != _ENDLESS}

    def draw(self, user: User, more: Bytes) -> None:
        """His leases hold so much more of them, or less."""
        if user.manager is None or more == Bytes():
            return
        self._more[user.manager] = pools.plus(self._more.get(user.manager, Bytes()), more)
        for one in self._line(user):
            self._pools[one] = pools.drawn(self._pools[one], more)

    def save(self, session: Session) -> None:
        """Keep what was drawn."""
        if self._more:
            managers.reserve(session, self._more)

    def _line(self, user: User) -> list[ManagerId]:
        return [] if user.manager is None else self._lines.get(user.manager, [])


@dataclass
class _Case:
    """One user in the work of a report: his holdings by ledger, and the limits to work out a lease with."""

    user: User
    holdings: dict[int, Holding]
    ledger: int
    nodes: int
    limits: Ceilings = _ENDLESS

    @property
    def mine(self) -> Holding:
        return self.holdings[self.ledger]

    def put(self, mine: Holding) -> None:
        """Change what the reporting ledger holds."""
        self.holdings[self.ledger] = mine

    def lease(self) -> Lease:
        """What the node is told."""
        spare = rules.spare(self.limits, self.nodes)
        return Lease(self.user.id, self.user.terms, spare, *self.mine.ceilings)


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
    returned = {lease.user: lease for lease in report.returned if lease.user in users}
    cases = _cases(session, source, users, returned.keys(), now_ms)
    if not cases:
        return Change([])
    leases.returned(session, NodeId(source.node), returned)
    before = {number: case.mine for number, case in cases.items()}
    above = Above(session, (case.user for case in cases.values()))
    for number, lease in returned.items():
        cases[number].put(_taken_back(cases[number].mine, lease))
    for case in cases.values():
        # Bytes have passed from what is held to what is used, also of whoever is given nothing now.
        _draw(case, above)
    lent = _lendable(session, source, cases, above, now_ms)
    raised = [case for case in lent if _grant(case, above)]
    if raised:
        leases.number(session, source)
    changed = {number: case.mine for number, case in cases.items() if case.mine != before[number]}
    leases.save(session, source.number, changed)
    above.save(session)
    for case in lent:
        source.quiet[case.user.id] = rules.quiet_bytes(
            case.limits, case.user.used, case.holdings, source.number, case.nodes
        )
    return Change([case.lease() for case in lent], _recalled(session, lent))


def replace(
    session: Session,
    source: Source,
    told: Mapping[UserId, Ceilings],
    users: Mapping[UserId, User],
    now_ms: int,
) -> None:
    """Take a node's word on what its ledger holds of these users: nothing of whom it does not tell."""
    cases = _cases(session, source, users, users.keys(), now_ms)
    above = Above(session, (case.user for case in cases.values()))
    for number, case in cases.items():
        case.put(dataclasses.replace(case.mine, ceilings=told.get(number, _ENDLESS)))
        _draw(case, above)
    leases.save(session, source.number, {number: case.mine for number, case in cases.items()})
    above.save(session)


def _cases(
    session: Session,
    source: Source,
    users: Mapping[UserId, User],
    returned: Iterable[UserId],
    now_ms: int,
) -> dict[UserId, _Case]:
    concerned = {number for number, user in users.items() if user.limited} | set(returned)
    if not concerned:
        return {}
    held = leases.holdings(session, concerned, active_since_ms=now_ms - _ACTIVE_MS)
    nodes = leases.nodes_of(session, concerned)
    return {
        number: _Case(
            users[number],
            {source.number: _NOTHING, **held.get(number, {})},
            source.number,
            nodes.get(number, 1),
        )
        for number in concerned
    }


def _lendable(
    session: Session, source: Source, cases: Mapping[UserId, _Case], above: Above, now_ms: int
) -> list[_Case]:
    if source.learning_ms is not None:
        return []
    wanted = {case.user.id: case.user for case in cases.values() if case.user.limited and case.user.served}
    here = leases.placed(session, NodeId(source.node), wanted)
    asked_since_ms = now_ms - judging.TERM_MS
    if learning.asked(session, asked_since_ms):
        sharing = {number: above.limiting(wanted[number]) for number in here}
        here -= learning.waiting(session, sharing, asked_since_ms)
    return [cases[number] for number in sorted(here)]


def _grant(case: _Case, above: Above) -> bool:
    """Raise his lease where that is due; False where nothing changes."""
    user, mine = case.user, case.mine
    taken, own = rules.outstanding(case.holdings), rules.outstanding({case.ledger: mine})
    lines = above.of(user)
    case.limits = pools.bounded(user.limits, user.used, taken, pools.minus(mine.held, own), lines)
    ceilings = rules.granted(case.limits, user.used, case.holdings, case.ledger, case.nodes)
    after = dataclasses.replace(mine, ceilings=ceilings)
    more = pools.minus(rules.outstanding({case.ledger: after}), mine.held)
    within = rules.kept(user.limits, user.used, {**case.holdings, case.ledger: after})
    # What nodes let pass between two readings is booked beyond the limit; nothing more is given then.
    if ceilings != mine.ceilings and not (within and pools.kept(lines, more)):
        logs.event(LOGGER, logging.ERROR, "lease_refused", user=user.id, ledger=case.ledger)
        return False
    case.put(after)
    _draw(case, above)
    return ceilings != mine.ceilings


def _draw(case: _Case, above: Above) -> None:
    """Let the managers above hold exactly what this lease may still take."""
    held = rules.outstanding({case.ledger: case.mine}) if case.user.manager is not None else Bytes()
    above.draw(case.user, pools.minus(held, case.mine.held))
    case.put(dataclasses.replace(case.mine, held=held))


def _recalled(session: Session, cases: Iterable[_Case]) -> frozenset[NodeId]:
    asked: frozenset[NodeId] = frozenset()
    for case in cases:
        if ledgers := rules.to_recall(case.limits, case.user.used, case.holdings, case.ledger):
            asked |= leases.recall(session, case.user.id, ledgers)
    return asked


def _taken_back(mine: Holding, returned: Lease) -> Holding:
    left = rules.lowered(mine.ceilings, Ceilings(returned.total, returned.up, returned.down))
    return dataclasses.replace(mine, ceilings=left, active=False)
