"""Leases: what each node may still serve of a user's limits without asking (rows H7, H12; design: Quota).

What always holds, for every limit: used + outstanding <= limit, where outstanding is what nodes may serve up
to their ceilings beyond the totals they have reported. A ceiling is an absolute total of the node's ledger,
so a lease can be lost, repeated or late without being spent twice. What a silent node holds stays held until
it reports, since it may have served all of it; only an operator who declares the node lost by revoking it
frees what it held.
"""

from collections.abc import Hashable, Mapping
from typing import NamedTuple, TypeVar

import msgspec

from shared.names import MAX_BYTES, ManagerId, UserId

#: A new lease is this share of what is free, divided by the nodes that are active.
_SHARE_PERCENT = 60
#: It is renewed once less than this share of a new one is left. Together: 11 renewals for 10 GB.
_RENEW_PERCENT = 30
#: No lease is larger: it is stranded while its node is away.
MAX_LEASE_BYTES = 4 * 2**30
#: None is smaller while more is free: at 1 Gbit/s it lasts a quarter of a second.
MIN_LEASE_BYTES = 32 * 2**20
#: What a node may hold of an idle user, so that his first bytes need no question: all his nodes together at
#: most a fifth of the limit. A user of one node only has nobody to leave anything for.
MAX_STARTER_BYTES = 8 * 2**20
_STARTER_SHARE = 5
_UNIT_PERMILLE = 1_000


Name = TypeVar("Name", bound=Hashable)


class Bytes(NamedTuple):
    """Figures by limit: both directions together, what the user sent, what he received."""

    total: int = 0
    up: int = 0
    down: int = 0


class Ceilings(NamedTuple):
    """Limits in the same order; None is no limit."""

    total: int | None = None
    up: int | None = None
    down: int | None = None


NO_BYTES = Bytes()
ENDLESS = Ceilings()


class Holding(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one ledger holds of a user, in raw bytes: totals reported and ceilings given.

    `held` is what the managers above have recorded that it may still take, in billed bytes.
    `factor_permille` is the highest traffic factor with which a byte of that node may be billed.
    """

    seen: Bytes
    ceilings: Ceilings
    factor_permille: int = _UNIT_PERMILLE
    active: bool = False
    held: Bytes = NO_BYTES


class Terms(NamedTuple):
    """What a ledger's share depends on besides the limits: its holding, and among how many it is shared.

    `active` is how many ledgers are active for the user, `nodes` on how many nodes he may be served.
    """

    holding: Holding
    active: int
    nodes: int


class Borrower(NamedTuple):
    """Of whom leases are worked out: his limits and what counts against them, in billed bytes."""

    id: UserId
    manager: ManagerId | None
    terms: int
    limits: Ceilings
    used: Bytes


def lowered(ceilings: Ceilings, returned: Ceilings) -> Ceilings:
    """Ceilings after a node has cut down its own; nothing is raised by a return."""
    return Ceilings(*(_lower(*pair) for pair in zip(ceilings, returned, strict=True)))


def within(limits: Ceilings, used: Bytes, taken: Bytes) -> bool:
    """Whether used + taken <= limit holds, for every limit."""
    for limit, spent, gone in zip(limits, used, taken, strict=True):
        if limit is not None and spent + gone > limit:
            return False
    return True


def outstanding(holdings: Mapping[Name, Holding]) -> Bytes:
    """What the nodes may still serve, in billed bytes, rounded up."""
    total, up, down = 0, 0, 0
    for holding in holdings.values():
        more_total, more_up, more_down = rests(holding)
        total, up, down = total + more_total, up + more_up, down + more_down
    return Bytes(total, up, down)


def rests(holding: Holding) -> Bytes:
    """What one ledger may still serve, in billed bytes, rounded up."""
    ceilings, seen, factor = holding.ceilings, holding.seen, holding.factor_permille
    if ceilings == ENDLESS:
        return NO_BYTES
    return Bytes(
        _rest(ceilings[0], seen[0], factor),
        _rest(ceilings[1], seen[1], factor),
        _rest(ceilings[2], seen[2], factor),
    )


def granted(
    limits: Ceilings, used: Bytes, holdings: Mapping[Name, Holding], ledger: Name, nodes: int
) -> Ceilings:
    """The ceilings of one ledger after a renewal where one is due; those it has where none is.

    `limits` and `used` are billed bytes, `nodes` is on how many nodes the user may be served. Ceilings never
    fall here: only a node itself gives back.
    """
    terms = Terms(holdings[ledger], active(holdings), nodes)
    return renewed(limits, used, outstanding(holdings), terms)


def active(holdings: Mapping[Name, Holding]) -> int:
    """How many ledgers are active."""
    return sum(one.active for one in holdings.values())


def renewed(limits: Ceilings, used: Bytes, taken: Bytes, terms: Terms) -> Ceilings:
    """The same, where it is known what is `taken`: what all ledgers together may still serve."""
    seen, ceilings = terms.holding.seen, terms.holding.ceilings
    return Ceilings(
        *[
            None if limit is None else _renewed(limit, limit - spent - gone, past, ceiling or 0, terms)
            for limit, spent, gone, past, ceiling in zip(limits, used, taken, seen, ceilings, strict=True)
        ]
    )


def quiet_bytes(limits: Ceilings, used: Bytes, taken: Bytes, terms: Terms) -> int:
    """Raw bytes that a ledger may report of a user before his lease there is to be looked at again.

    None where hardly anything is free: then each report may find that a lease is due, or is to be recalled.
    """
    seen, ceilings = terms.holding.seen, terms.holding.ceilings
    factor = max(1, terms.holding.factor_permille)
    left = MAX_LEASE_BYTES
    for limit, spent, gone, past, ceiling in zip(limits, used, taken, seen, ceilings, strict=True):
        if limit is not None:
            free = limit - spent - gone
            if free < MIN_LEASE_BYTES:
                return 0
            rest = _rest(ceiling, past, factor)
            left = min(left, rest + -_wanted(limit, free + rest, terms) * _RENEW_PERCENT // 100)
    return max(0, left) * _UNIT_PERMILLE // factor


def spare(limits: Ceilings, nodes: int) -> int:
    """What a node may keep of an idle user's lease, in billed bytes; 0 where nothing is limited."""
    return min((_starter(limit, nodes) for limit in limits if limit is not None), default=0)


def to_recall(
    limits: Ceilings, used: Bytes, holdings: Mapping[Name, Holding], ledger: Name
) -> frozenset[Name]:
    """Whose idle leases are needed by an active ledger, since hardly anything is free."""
    if not holdings[ledger].active:
        return frozenset()
    free = [
        limit - spent - gone
        for limit, spent, gone in zip(limits, used, outstanding(holdings), strict=True)
        if limit is not None
    ]
    if min(free, default=MIN_LEASE_BYTES) >= MIN_LEASE_BYTES:
        return frozenset()
    return frozenset(name for name, one in holdings.items() if not one.active and any(rests(one)))


def _renewed(limit: int, free: int, seen: int, ceiling: int, terms: Terms) -> int:
    factor = max(1, terms.holding.factor_permille)
    rest = _rest(ceiling, seen, factor)
    wanted = _wanted(limit, max(0, free) + rest, terms)
    if rest * 100 >= wanted * _RENEW_PERCENT:
        return ceiling
    return max(ceiling, min(MAX_BYTES, seen + wanted * _UNIT_PERMILLE // factor))


def _wanted(limit: int, free: int, terms: Terms) -> int:
    share = free * _SHARE_PERCENT // 100 // max(1, terms.active)
    usual = min(free, max(MIN_LEASE_BYTES, min(MAX_LEASE_BYTES, share)))
    if terms.holding.active or terms.nodes <= 1:
        return usual
    # The end of a limit belongs to the nodes where it is being used.
    return 0 if terms.active and free < MIN_LEASE_BYTES else min(usual, _starter(limit, terms.nodes))


def _starter(limit: int, nodes: int) -> int:
    return limit if nodes <= 1 else min(MAX_STARTER_BYTES, limit // _STARTER_SHARE // nodes)


def _lower(ceiling: int | None, returned: int | None) -> int | None:
    if ceiling is None or returned is None:
        return ceiling
    return min(ceiling, returned)


def _rest(ceiling: int | None, seen: int, factor_permille: int) -> int:
    if ceiling is None or ceiling <= seen:
        return 0
    return -(-(ceiling - seen) * factor_permille // _UNIT_PERMILLE)
