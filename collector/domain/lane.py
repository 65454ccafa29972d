"""The fast lane: rows of reports that change nothing but their meter.

Of nearly every row one thing only has to be known: that it reaches no limit, asks for no lease and is not the
first of its meter. What that takes lies in memory. All others are left for the careful way, which decides.

What always holds: a row taken here is charged as the careful way would have charged it, and the careful way
would have changed nothing else. Room and quiet are bounds from below: they end early, never late. All of it
can be forgotten at any moment; the careful way then begins it anew.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from collector.domain.columns import NONE, Columns
from collector.domain.paged import BITS, MASK, Paged
from shared.messages import Usage
from shared.names import EndpointId, ManagerId, UserId

#: The room of a user whom no bytes concern: no limit of his own or above him.
ENDLESS = 2**62
#: Larger totals go the careful way, where they are clamped.
HIGHEST = 2**61
_UNIT_PERMILLE = 1_000
_NOWHERE = (array("q"), array("q"))
_UNKNOWN = (NONE, NONE, NONE)


@dataclass(slots=True)
class Source:
    """What is remembered of one ledger.

    `serial` counts its batches of leases; its node was asked at `learning_ms` what it holds and has not said.
    """

    number: int
    node: int
    hour: int
    epoch: int
    fast_bytes: int
    factors: Mapping[EndpointId, int]
    serial: int = 0
    learning_ms: int | None = None
    meters: Columns = field(init=False)

    def __post_init__(self) -> None:
        """Begin without meters."""
        self.meters = Columns(self.factors)


@dataclass(slots=True)
class People:
    """What is remembered of users, by id, in columns.

    `rooms` are billed bytes that each may move before a limit is near, NONE for whoever has to go the careful
    way; `managers` are those directly above, 0 where nobody is; `begun` is when present periods began.
    """

    rooms: Paged = field(default_factory=lambda: Paged(NONE))
    managers: Paged = field(default_factory=lambda: Paged(0))
    begun: Paged = field(default_factory=lambda: Paged(0))


class Taken(NamedTuple):
    """What was charged, as rows of the meter table, by manager what was billed, and what is left to do."""

    moved: list[tuple[int, ...]]
    billed: dict[ManagerId, tuple[int, int]]
    careful: list[tuple[int, Usage]]


def take(  # noqa: C901 - one loop: a call a row would cost more than the rest of it
    rows: Iterable[tuple[int, Usage]], source: Source, people: People, at_ms: int, now_ms: int
) -> Taken:
    """Charge the rows that need no thought, in memory; the caller stores them or forgets everything.

    They were used by `at_ms`, in the open hour; those before the user's present period are left, too.
    """
    moved, careful = list[tuple[int, ...]](), list[tuple[int, Usage]]()
    billed: dict[int, tuple[int, int]] = {}
    number, fast, meters = source.number, source.fast_bytes, source.meters
    users, quiets, shifts = meters.users, meters.quiet, meters.shifts
    begun = people.begun if at_ms < now_ms else None
    place, own, count, factor, (ups, downs) = NONE, 0, len(users), 0, _NOWHERE
    page, rooms, managers = NONE, people.rooms.page(NONE), people.managers.page(NONE)
    # What the row before named: a node may name anything.
    last: UserId | None = None
    of: EndpointId | None = None
    for placed in rows:
        row = placed[1]
        user, endpoint, up, down = row.user, row.endpoint, row.up, row.down
        if endpoint != of:
            of, factor = endpoint, source.factors.get(endpoint, 0)
            ups, downs = meters.totals.get(endpoint, _NOWHERE)
        if user != last:
            # As a rule the next user is in the next place.
            place, last = place + 1, user
            if place >= count or users[place] != user:
                place = bisect_left(users, user)
            if user >> BITS != page:
                page = user >> BITS
                rooms, managers = people.rooms.page(page), people.managers.page(page)
            own = user & MASK
        is_here = place < len(ups) and users[place] == user
        before_up, before_down, room = (ups[place], downs[place], rooms[own]) if is_here else _UNKNOWN
        raw_up, raw_down = up - before_up, down - before_down
        is_known = before_up >= 0 and room >= 0 and (begun is None or begun[user] <= at_ms)
        if not (is_known and 0 <= raw_up <= fast and 0 <= raw_down <= fast):
            careful.append(placed)
            continue
        if raw_up == raw_down == 0:
            continue
        more_up, more_down, billed_up, billed_down = raw_up, raw_down, up, down
        if shifts or factor != _UNIT_PERMILLE:
            billed_up, billed_down = meters.billed(user, endpoint, up, down)
            was_up, was_down = meters.billed(user, endpoint, before_up, before_down)
            more_up, more_down = billed_up - was_up, billed_down - was_down
        if room < ENDLESS:
            room -= more_up + more_down
            quiet = quiets[place] - raw_up - raw_down
            if room <= 0 or quiet <= 0:
                careful.append(placed)
                continue
            rooms[own], quiets[place] = room, quiet
        ups[place], downs[place] = up, down
        moved.append((number, user, endpoint, up, down, billed_up, billed_down, now_ms))
        if manager := managers[own]:
            of_up, of_down = billed.get(manager, (0, 0))
            billed[manager] = (of_up + more_up, of_down + more_down)
    return Taken(moved, {ManagerId(manager): sums for manager, sums in billed.items()}, careful)
