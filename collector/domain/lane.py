"""The fast lane: rows of reports that change nothing but their meter.

Of nearly every row one thing only has to be known: that it reaches no limit, asks for no lease and is not the
first of its meter. What that takes lies in memory. All others are left for the careful way, which decides.

What always holds: a row taken here is charged as the careful way would have charged it, and the careful way
would have changed nothing else. Room and quiet are bounds from below: they end early, never late. All of it
can be forgotten at any moment; the careful way then begins it anew.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from shared.messages import Usage
from shared.names import EndpointId, ManagerId, UserId

#: The room of a user whom no bytes concern: no limit of his own or above him.
ENDLESS = 2**62
#: Larger totals go the careful way, where they are clamped.
HIGHEST = 2**61
_UNIT_PERMILLE = 1_000

#: Totals of a meter: raw up and down, billed up and down.
Totals = tuple[int, int, int, int]


@dataclass
class Source:
    """What is remembered of one ledger. `quiet` is the raw bytes of a user before his lease is looked at.

    `serial` counts its batches of leases; its node was asked at `learning_ms` what it holds and has not said.
    """

    number: int
    node: int
    hour: int
    epoch: int
    fast_bytes: int
    factors: Mapping[EndpointId, int]
    meters: dict[EndpointId, dict[UserId, Totals]] = field(default_factory=dict)
    quiet: dict[UserId, int] = field(default_factory=dict)
    serial: int = 0
    learning_ms: int | None = None


class Taken(NamedTuple):
    """What was charged, as rows of the meter table, by manager what was billed, and what is left to do."""

    moved: list[tuple[int, ...]]
    billed: dict[ManagerId, tuple[int, int]]
    careful: list[tuple[int, Usage]]


def take(
    rows: Iterable[tuple[int, Usage]],
    source: Source,
    rooms: dict[UserId, int],
    managers: Mapping[UserId, ManagerId],
    now_ms: int,
) -> Taken:
    """Charge the rows that need no thought, in memory; the caller stores them or forgets everything.

    Their bytes were used now: in the open hour, in every user's present period. `rooms` are billed bytes
    that each user may move before a limit is near.
    """
    taken = Taken([], {}, [])
    number, meters, fast = source.number, source.meters, source.fast_bytes
    for placed in rows:
        row = placed[1]
        user, endpoint, up, down = row.user, row.endpoint, row.up, row.down
        of_endpoint = meters.get(endpoint)
        seen = None if of_endpoint is None else of_endpoint.get(user)
        room = rooms.get(user)
        if of_endpoint is None or seen is None or room is None:
            taken.careful.append(placed)
            continue
        before_up, before_down, billed_up, billed_down = seen
        raw_up, raw_down = up - before_up, down - before_down
        if raw_up == raw_down == 0:
            continue
        if not (0 <= raw_up <= fast and 0 <= raw_down <= fast):
            taken.careful.append(placed)
            continue
        factor = source.factors[endpoint]
        if factor == _UNIT_PERMILLE:
            more_up, more_down = raw_up, raw_down
        else:
            more_up = up * factor // _UNIT_PERMILLE - before_up * factor // _UNIT_PERMILLE
            more_down = down * factor // _UNIT_PERMILLE - before_down * factor // _UNIT_PERMILLE
        if room < ENDLESS:
            room -= more_up + more_down
            quiet = source.quiet.get(user, 0) - raw_up - raw_down
            if room <= 0 or quiet <= 0:
                taken.careful.append(placed)
                continue
            rooms[user] = room
            source.quiet[user] = quiet
        billed_up += more_up
        billed_down += more_down
        of_endpoint[user] = (up, down, billed_up, billed_down)
        taken.moved.append((number, user, endpoint, up, down, billed_up, billed_down, now_ms))
        manager = managers.get(user)
        if manager is not None:
            of_up, of_down = taken.billed.get(manager, (0, 0))
            taken.billed[manager] = (of_up + more_up, of_down + more_down)
    return taken
