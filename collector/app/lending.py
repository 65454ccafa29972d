"""Leases, renewed with every report (rows H7, H12; design: Quota).

What always holds: used + outstanding <= limit for every user, and used + held <= limit for every manager
above him, checked here before anything is given; what a node said in an old report frees nothing, since it
may have been given more in the meantime; a node is lent nothing of users who are not placed on it, nor of
those of whom, or of whose managers, a node may hold what is not known.
"""

import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from msgspec import structs

from collector.domain import learning as judging
from collector.domain import leases as rules
from collector.domain import pools
from collector.domain.changes import Change
from collector.domain.columns import NONE
from collector.domain.lane import Source
from collector.domain.leases import ENDLESS, NO_BYTES, Borrower, Bytes, Ceilings, Holding, Terms
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
_NOTHING = Holding(seen=NO_BYTES, ceilings=ENDLESS)


class Above:
    """The managers above borrowers, with what leases hold of them while a report is worked on."""

    def __init__(self, session: Session, borrowers: Iterable[Borrower]) -> None:
        wanted = {one.manager for one in borrowers if one.manager is not None}
        chains = managers.chains(session, wanted) if wanted else {}
        #: Those of them who limit bytes: of the others nothing is taken.
        self._lines = {
            leaf: [one.id for one in line if one.limits != ENDLESS] for leaf, line in chains.items()
        }
        self._pools = {
            one.id: Pool(one.limits, one.used, one.held) for line in chains.values() for one in line
        }
        self._more: dict[ManagerId, Bytes] = {}

    def of(self, borrower: Borrower) -> list[Pool]:
        """The pools with limits that his leases are taken from."""
        return [self._pools[one] for one in self.limiting(borrower)]

    def limiting(self, borrower: Borrower) -> list[ManagerId]:
        """The managers whose limits he shares."""
        return [] if borrower.manager is None else self._lines.get(borrower.manager, [])

    def draw(self, borrower: Borrower, more: Bytes) -> None:
        """His leases hold so much more of them, or less."""
        if borrower.manager is None or more == NO_BYTES:
            return
        self._more[borrower.manager] = pools.plus(self._more.get(borrower.manager, NO_BYTES), more)
        for one in self.limiting(borrower):
            self._pools[one] = pools.drawn(self._pools[one], more)

    def save(self, session: Session) -> None:
        """Keep what was drawn."""
        if self._more:
            managers.reserve(session, self._more)


@dataclass(slots=True)
class _Case:
    """One user in the work of a report: what his ledgers hold, and the limits to work out a lease with.

    `mine` is of the ledger that reports, and `own` what it may still serve; `others` is that of all others.
    """

    user: Borrower
    holdings: Mapping[int, Holding]
    ledger: int
    mine: Holding
    own: Bytes
    others: Bytes
    active: int
    nodes: int
    here: bool
    limits: Ceilings = ENDLESS

    @property
    def taken(self) -> Bytes:
        return pools.plus(self.others, self.own)

    @property
    def terms(self) -> Terms:
        return Terms(self.mine, self.active, self.nodes)

    def put(self, mine: Holding) -> None:
        """Change what the reporting ledger holds."""
        self.active += mine.active - self.mine.active
        self.mine, self.own = mine, rules.rests(mine)

    def quiet_bytes(self) -> int:
        """What may be reported before the lease is looked at again."""
        return rules.quiet_bytes(self.limits, self.user.used, self.taken, self.terms)

    def to_recall(self) -> frozenset[int]:
        """Whose idle leases are needed here."""
        return rules.to_recall(
            self.limits, self.user.used, {**self.holdings, self.ledger: self.mine}, self.ledger
        )

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
        source.meters.hush(number, NONE)
    if report is None:
        return Change([])
    returned = {lease.user: lease for lease in report.returned if lease.user in users}
    cases = _cases(session, source, _concerned(users, returned.keys()), now_ms)
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
    served = [cases[one] for one in sorted(cases) if users[one].limited and users[one].served]
    lent = _lendable(session, source, served, above, now_ms)
    raised = [case for case in lent if _grant(case, above)]
    if raised:
        leases.number(session, source)
    changed = {number: case.mine for number, case in cases.items() if case.mine is not before[number]}
    leases.save(session, source.number, changed)
    above.save(session)
    scarce = []
    for case in lent:
        quiet_bytes = case.quiet_bytes()
        source.meters.hush(case.user.id, quiet_bytes)
        # Something is recalled only where hardly anything is free.
        if not quiet_bytes:
            scarce.append(case)
    return Change([case.lease() for case in lent], _recalled(session, scarce))


def quiet(
    session: Session, source: Source, borrowers: Mapping[UserId, Borrower], now_ms: int
) -> dict[UserId, int]:
    """Raw bytes of each of these before his lease under this ledger is to be looked at again.

    Only of those whom the ledger's node may be lent anything of, while no node is asked what it holds.
    """
    if source.learning_ms is not None or learning.asked(session, now_ms - judging.TERM_MS):
        return {}
    cases = _cases(session, source, borrowers, now_ms)
    above = Above(session, borrowers.values())
    found = {}
    for number, case in cases.items():
        if case.here:
            # His bytes are about to be booked.
            case.put(case.mine if case.mine.active else structs.replace(case.mine, active=True))
            _bound(case, above)
            found[number] = case.quiet_bytes()
    return found


def replace(
    session: Session,
    source: Source,
    told: Mapping[UserId, Ceilings],
    users: Mapping[UserId, User],
    now_ms: int,
) -> None:
    """Take a node's word on what its ledger holds of these users: nothing of whom it does not tell."""
    cases = _cases(session, source, _concerned(users, users.keys()), now_ms)
    above = Above(session, (case.user for case in cases.values()))
    for number, case in cases.items():
        case.put(structs.replace(case.mine, ceilings=told.get(number, ENDLESS)))
        _draw(case, above)
    leases.save(session, source.number, {number: case.mine for number, case in cases.items()})
    above.save(session)


def _concerned(users: Mapping[UserId, User], named: Collection[UserId]) -> dict[UserId, Borrower]:
    """Those whose leases are looked at: the limited, and those who are named."""
    return {
        number: Borrower(number, user.manager, user.terms, user.limits, user.used)
        for number, user in users.items()
        if user.limited or number in named
    }


def _cases(
    session: Session, source: Source, borrowers: Mapping[UserId, Borrower], now_ms: int
) -> dict[UserId, _Case]:
    if not borrowers:
        return {}
    held = leases.holdings(session, borrowers, active_since_ms=now_ms - _ACTIVE_MS)
    places = leases.places(session, NodeId(source.node), borrowers)
    return {
        number: _case(one, held.get(number, {}), source.number, *places.get(number, (1, False)))
        for number, one in borrowers.items()
    }


def _case(user: Borrower, holdings: Mapping[int, Holding], ledger: int, nodes: int, here: bool) -> _Case:  # noqa: FBT001 - the second half of a pair
    mine = holdings.get(ledger, _NOTHING)
    own = rules.rests(mine)
    others, active = NO_BYTES, int(mine.active)
    for number, holding in holdings.items():
        if number != ledger:
            others, active = pools.plus(others, rules.rests(holding)), active + holding.active
    return _Case(user, holdings, ledger, mine, own, others, active, nodes, here)


def _lendable(
    session: Session, source: Source, served: Iterable[_Case], above: Above, now_ms: int
) -> list[_Case]:
    if source.learning_ms is not None:
        return []
    here = [case for case in served if case.here]
    asked_since_ms = now_ms - judging.TERM_MS
    if not learning.asked(session, asked_since_ms):
        return here
    sharing = {case.user.id: set(above.limiting(case.user)) for case in here}
    waiting = learning.waiting(session, sharing, asked_since_ms)
    return [case for case in here if case.user.id not in waiting]


def _bound(case: _Case, above: Above) -> list[Pool]:
    """Find the limits to work his lease out with; returns the pools that they come from."""
    lines = above.of(case.user)
    spent = pools.minus(case.mine.held, case.own) if lines else NO_BYTES
    case.limits = pools.bounded(case.user.limits, case.user.used, case.taken, spent, lines)
    return lines


def _grant(case: _Case, above: Above) -> bool:
    """Raise his lease where that is due; False where nothing changes."""
    user, mine, lines = case.user, case.mine, _bound(case, above)
    ceilings = rules.renewed(case.limits, user.used, case.taken, case.terms)
    if ceilings == mine.ceilings:
        return False
    after = structs.replace(mine, ceilings=ceilings)
    own = rules.rests(after)
    within = rules.within(user.limits, user.used, pools.plus(case.others, own))
    # What nodes let pass between two readings is booked beyond the limit; nothing more is given then.
    if not (within and pools.kept(lines, pools.minus(own, mine.held))):
        logs.event(LOGGER, logging.ERROR, "lease_refused", user=user.id, ledger=case.ledger)
        return False
    case.put(after)
    _draw(case, above)
    return True


def _draw(case: _Case, above: Above) -> None:
    """Let the managers above hold exactly what this lease may still take."""
    held = pools.holding(case.own) if case.user.manager is not None else NO_BYTES
    if held != case.mine.held:
        above.draw(case.user, pools.minus(held, case.mine.held))
        case.mine = structs.replace(case.mine, held=held)


def _recalled(session: Session, cases: Iterable[_Case]) -> frozenset[NodeId]:
    asked: frozenset[NodeId] = frozenset()
    for case in cases:
        if ledgers := case.to_recall():
            asked |= leases.recall(session, case.user.id, ledgers)
    return asked


def _taken_back(mine: Holding, returned: Lease) -> Holding:
    left = rules.lowered(mine.ceilings, Ceilings(returned.total, returned.up, returned.down))
    return structs.replace(mine, ceilings=left, active=False)
