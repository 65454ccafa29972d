"""From absolute totals to charges: merge by maximum (rows H5, H8; design: Metering).

What always holds: a charge is never negative; replaying any report, in any order, charges nothing more; a row
that cannot be right is held back whole and never partly billed.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from collector.domain.quarantine import Cause
from shared.messages import Usage
from shared.names import MAX_BYTES, EndpointId, UserId

#: What a link may seem to carry beyond its rate: a report that was held up arrives just before the next
#: one, and agents give a report up after 15 s only.
_SLACK_MS = 60_000
_HEADROOM_PERCENT = 110
_UNIT_PERMILLE = 1_000


class Key(NamedTuple):
    """A meter under one ledger."""

    user: UserId
    endpoint: EndpointId


class Seen(NamedTuple):
    """The highest totals so far and when they were reported."""

    up: int
    down: int
    last_ms: int


class Charge(NamedTuple):
    """Bytes to bill, after the endpoint's traffic factor, and the meter's new totals, which are raw."""

    key: Key
    up: int
    down: int
    new_up: int
    new_down: int


class Held(NamedTuple):
    """A row that is not billed, by its place in the report."""

    place: int
    row: Usage
    cause: Cause
    reason: str


@dataclass(frozen=True, kw_only=True)
class Known:
    """What the collector knows of the node that reports."""

    seen: Mapping[Key, Seen]
    users: Collection[UserId]
    factors: Mapping[EndpointId, int]
    quarantined: Collection[Key]
    since_ms: int
    link_mbps: int


def charge(rows: Sequence[tuple[int, Usage]], known: Known, now_ms: int) -> tuple[list[Charge], list[Held]]:
    """Charges for the rows that are right, by their meter; the others with the reason they are held."""
    charges: dict[Key, Charge] = {}
    held: list[Held] = []
    for place, row in rows:
        key = Key(row.user, row.endpoint)
        if wrong := _wrong(row, key, known, now_ms):
            held.append(Held(place, row, *wrong))
        else:
            _merge(charges, row, known.seen.get(key), known.factors[row.endpoint])
    return list(charges.values()), held


def billed(old: int, new: int, factor_permille: int) -> int:
    """What a total that grew from `old` to `new` raw bytes adds to the bill.

    The bill of a meter is its total times the factor, rounded down once: no fraction is lost at a report.
    """
    return new * factor_permille // _UNIT_PERMILLE - old * factor_permille // _UNIT_PERMILLE


def raised(row: Usage, seen: Seen | None, factor_permille: int) -> Charge:
    """The charge that takes a meter from what was seen to this row, or no further than it is."""
    base_up, base_down = (seen.up, seen.down) if seen else (0, 0)
    up, down = max(row.up, base_up), max(row.down, base_down)
    more = billed(base_up, up, factor_permille), billed(base_down, down, factor_permille)
    return Charge(Key(row.user, row.endpoint), *more, up, down)


def _merge(charges: dict[Key, Charge], row: Usage, seen: Seen | None, factor_permille: int) -> None:
    earlier = charges.get(Key(row.user, row.endpoint))
    if earlier is not None:
        row = Usage(row.user, row.endpoint, max(row.up, earlier.new_up), max(row.down, earlier.new_down))
    charge = raised(row, seen, factor_permille)
    if seen is None or (charge.new_up, charge.new_down) != (seen.up, seen.down):
        charges[charge.key] = charge


def _wrong(row: Usage, key: Key, known: Known, now_ms: int) -> tuple[Cause, str] | None:
    if row.up < 0 or row.down < 0:
        return Cause.ABSURD, "a total cannot be negative"
    if row.up > MAX_BYTES or row.down > MAX_BYTES:
        return Cause.ABSURD, f"a total cannot exceed {MAX_BYTES} bytes"
    if row.user not in known.users:
        return Cause.UNKNOWN, "there is no such user"
    if row.endpoint not in known.factors:
        return Cause.UNKNOWN, "this node has no such endpoint"
    if key in known.quarantined:
        return Cause.TOO_FAST, "an earlier total of this meter waits for an admin's decision"
    return _too_fast(row, known.seen.get(key), known, now_ms)


def _too_fast(row: Usage, seen: Seen | None, known: Known, now_ms: int) -> tuple[Cause, str] | None:
    base_up, base_down, last_ms = seen or Seen(0, 0, known.since_ms)
    elapsed_ms = max(0, now_ms - last_ms) + _SLACK_MS
    possible = elapsed_ms * known.link_mbps * 125 * _HEADROOM_PERCENT // 100
    if max(row.up - base_up, row.down - base_down) > possible:
        return Cause.TOO_FAST, f"more than the node's {known.link_mbps} Mbit/s can carry in {elapsed_ms} ms"
    return None
