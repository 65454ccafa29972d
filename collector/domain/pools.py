"""Pools: what managers leave for the leases of users below them (row H12; design: Quota).

A manager's limit is shared by everybody below him. What leases may still take of it is held, and added up
whenever a lease changes; in between bytes pass from what is held to what is used, and count in both.

What always holds: used + held <= limit for every manager above a user to whom something is lent. Bytes that
count twice for a while make a grant smaller, never too large.
"""

from collections.abc import Iterable
from typing import NamedTuple

from collector.domain.leases import MAX_LEASE_BYTES, MIN_LEASE_BYTES, Bytes, Ceilings

#: The most of what is free that one lease may take: the others below have to live, too.
_SHARE = 8
#: The most that one lease can hold, 1024 times what is ever lent at once: a node that tells of more tells
#: rubbish, and the sum of two million such leases still fits a column.
_MOST_HELD_BYTES = 1024 * MAX_LEASE_BYTES


class Pool(NamedTuple):
    """A manager's limits, what was used of them, and what leases hold."""

    limits: Ceilings
    used: Bytes
    held: Bytes


def bounded(limits: Ceilings, used: Bytes, taken: Bytes, spent: Bytes, pools: Iterable[Pool]) -> Ceilings:
    """The limits to work out one lease of a user with: his own, or what those above him leave.

    `taken` is what all his leases may still take; `spent` is what this one holds of the pools and has let
    pass by now, which its renewal sets free.
    """
    shared = list(pools)
    if not shared:
        return limits
    return Ceilings(
        *(
            _least(
                limits[kind], used[kind] + taken[kind], [_free(pool, kind, spent[kind]) for pool in shared]
            )
            for kind in range(len(limits))
        )
    )


def holding(rest: Bytes) -> Bytes:
    """What a lease holds that may still take so much."""
    return Bytes(*(min(one, _MOST_HELD_BYTES) for one in rest))


def kept(pools: Iterable[Pool], more: Bytes) -> bool:
    """Whether no pool would be overdrawn by holding so much more of each; less is always right."""
    for pool in pools:
        for limit, used, held, extra in zip(*pool, more, strict=True):
            if limit is not None and extra > 0 and used + held + extra > limit:
                return False
    return True


def drawn(pool: Pool, more: Bytes) -> Pool:
    """The pool after leases hold so much more of it."""
    return Pool(pool.limits, pool.used, plus(pool.held, more))


def plus(one: Bytes, other: Bytes) -> Bytes:
    """The sum, limit by limit."""
    return Bytes(one[0] + other[0], one[1] + other[1], one[2] + other[2])


def minus(one: Bytes, other: Bytes) -> Bytes:
    """The difference, limit by limit."""
    return Bytes(one[0] - other[0], one[1] - other[1], one[2] - other[2])


def _free(pool: Pool, kind: int, spent: int) -> int | None:
    limit = pool.limits[kind]
    if limit is None:
        return None
    free = max(0, limit - pool.used[kind] - pool.held[kind] + spent)
    return max(min(free, MIN_LEASE_BYTES), free // _SHARE)


def _least(own: int | None, committed: int, frees: Iterable[int | None]) -> int | None:
    above = [committed + free for free in frees if free is not None]
    return min(above if own is None else [own, *above], default=None)
