"""From absolute totals to charges: merge by maximum (rows H5, H8; design: Metering).

What always holds: a charge is never negative; replaying any report, in any order, charges nothing more; a row
that cannot be right is held back whole and never partly billed. Bytes belong to the time in which they were
used, as far as the node's clock can be believed.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from collector.domain.quarantine import Cause
from shared.messages import Usage
from shared.names import MAX_BYTES, QUARTER_MS, EndpointId, UserId

#: What a link may seem to carry beyond its rate: a report that was held up arrives just before the next
#: one, and agents give a report up after 15 s only.
SLACK_MS = 60_000
_HEADROOM_PERCENT = 110
_UNIT_PERMILLE = 1_000
#: How far before the last report of a meter its next bytes may lie: its report was under way for some of it.
#: A node whose clock is wrong moves no byte further back than that.
_OVERLAP_MS = 5 * 60_000


class Key(NamedTuple):
    """A meter under one ledger."""

    user: UserId
    endpoint: EndpointId


class Seen(NamedTuple):
    """The highest totals so far, what was billed of them, and when they were reported."""

    up: int
    down: int
    billed_up: int
    billed_down: int
    last_ms: int


_NOTHING = Seen(0, 0, 0, 0, 0)


class Row(NamedTuple):
    """A row of a report by its place there; its bytes were used by `at_ms`."""

    place: int
    usage: Usage
    at_ms: int


class Charge(NamedTuple):
    """Bytes to bill, after the endpoint's traffic factor, when they were used, and the meter after them."""

    key: Key
    up: int
    down: int
    at_ms: int
    seen: Seen


class Held(NamedTuple):
    """A row that is not billed, by its place in the report."""

    place: int
    row: Usage
    cause: Cause
    reason: str


@dataclass(frozen=True, kw_only=True)
class Known:
    """What the collector knows of the node that reports; `placed` are pairs that are or were to be served.

    `floor_ms` is the moment before, of this report, by which bytes were used that were charged already.
    """

    seen: Mapping[Key, Seen]
    users: Collection[UserId]
    placed: Collection[Key]
    factors: Mapping[EndpointId, int]
    quarantined: Collection[Key]
    since_ms: int
    link_mbps: int
    floor_ms: int = 0


def charge(rows: Iterable[Row], known: Known, now_ms: int) -> tuple[list[Charge], list[Held]]:
    """Charges for the rows that are right, in the order of their time; the others with why they are held."""
    charges: list[Charge] = []
    held: list[Held] = []
    latest: dict[Key, Charge] = {}
    for place, row, at_ms in rows:
        key = Key(row.user, row.endpoint)
        if wrong := _wrong(row, key, known, now_ms):
            held.append(Held(place, row, *wrong))
            continue
        before = latest.get(key)
        seen = before.seen if before else known.seen.get(key)
        earliest_ms = before.at_ms if before else _earliest_ms(seen, known, now_ms)
        used_ms = min(now_ms, max(at_ms, earliest_ms))
        one = raised(row, seen, known.factors[row.endpoint], used_ms, now_ms)
        if seen is None or one.seen[:2] != seen[:2]:
            charges.append(one)
            latest[key] = one
    return sorted(charges, key=lambda one: one.at_ms), held


def _earliest_ms(seen: Seen | None, known: Known, now_ms: int) -> int:
    if seen is None:
        return known.since_ms
    # One that was moved just now was moved by this report, for a moment before.
    return known.floor_ms if seen.last_ms >= now_ms else seen.last_ms - _OVERLAP_MS


def used_ms(quarter: int, now_ms: int) -> int:
    """The last moment of a quarter of an hour, by which its bytes were used; now where none is told."""
    return min(now_ms, (quarter + 1) * QUARTER_MS - 1) if quarter else now_ms


def billed(old: int, new: int, factor_permille: int) -> int:
    """What a total that grew from `old` to `new` raw bytes adds to the bill.

    The bill of a meter is its total times the factor, rounded down once: no fraction is lost at a report.
    """
    return new * factor_permille // _UNIT_PERMILLE - old * factor_permille // _UNIT_PERMILLE


def raised(row: Usage, seen: Seen | None, factor_permille: int, at_ms: int, now_ms: int) -> Charge:
    """The charge that takes a meter from what was seen to this row, or no further than it is."""
    base_up, base_down, billed_up, billed_down, _ = seen or _NOTHING
    up, down = max(row.up, base_up), max(row.down, base_down)
    more_up = billed(base_up, up, factor_permille)
    more_down = billed(base_down, down, factor_permille)
    after = Seen(
        up, down, min(MAX_BYTES, billed_up + more_up), min(MAX_BYTES, billed_down + more_down), now_ms
    )
    return Charge(Key(row.user, row.endpoint), more_up, more_down, at_ms, after)


def possible_bytes(link_mbps: int, elapsed_ms: int) -> int:
    """What a link can carry in this time and the slack."""
    return (max(0, elapsed_ms) + SLACK_MS) * link_mbps * 125 * _HEADROOM_PERCENT // 100


def _wrong(row: Usage, key: Key, known: Known, now_ms: int) -> tuple[Cause, str] | None:
    if absurd := _absurd(row):
        return Cause.ABSURD, absurd
    if row.user not in known.users:
        return Cause.UNKNOWN, "there is no such user"
    if row.endpoint not in known.factors:
        return Cause.UNKNOWN, "this node has no such endpoint"
    if key not in known.placed:
        return Cause.UNKNOWN, "this user was never placed on this endpoint"
    if key in known.quarantined:
        return Cause.TOO_FAST, "an earlier total of this meter waits for an admin's decision"
    return _too_fast(row, known.seen.get(key), known, now_ms)


def _absurd(row: Usage) -> str | None:
    if row.up < 0 or row.down < 0:
        return "a total cannot be negative"
    if row.up > MAX_BYTES or row.down > MAX_BYTES:
        return f"a total cannot exceed {MAX_BYTES} bytes"
    return None


def _too_fast(row: Usage, seen: Seen | None, known: Known, now_ms: int) -> tuple[Cause, str] | None:
    base_up, base_down, last_ms = (seen.up, seen.down, seen.last_ms) if seen else (0, 0, known.since_ms)
    elapsed_ms = now_ms - last_ms
    if max(row.up - base_up, row.down - base_down) > possible_bytes(known.link_mbps, elapsed_ms):
        seconds_ms = max(0, elapsed_ms) + SLACK_MS
        return Cause.TOO_FAST, f"more than the node's {known.link_mbps} Mbit/s can carry in {seconds_ms} ms"
    return None
