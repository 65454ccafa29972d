"""The stream of a user's events: what is stored of him, merged with his usage by the hour (row H8).

What always holds: read to its end, the stream holds every event and every byte once. An hour stands where it
ends; one that is still open can change, so it is told on the last page only and no page begins behind it.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from collector.domain import course
from collector.domain.access import SYSTEM
from collector.domain.events import Kind, Recorded
from collector.domain.history import HOUR_MS, Amount
from collector.domain.payloads import Data, Forgotten, Hour
from shared.names import UserId

_PATTERN = re.compile(r"([0-9]{1,18})-([0-9]{1,18})")


class Cursor(NamedTuple):
    """The place of an item: its moment and its number, which is 0 for usage."""

    at_ms: int = 0
    number: int = 0

    def __str__(self) -> str:
        return f"{self.at_ms}-{self.number}"

    @property
    def next_hour(self) -> int:
        """The first hour that ends behind this place."""
        return self.at_ms // HOUR_MS


class Page(NamedTuple):
    """Some of a stream; `next` is where the next page begins, None on the last one."""

    events: list[Recorded]
    next: Cursor | None


def parse(text: str) -> Cursor | None:
    """The cursor that was written so; None when it is none."""
    found = _PATTERN.fullmatch(text)
    return Cursor(int(found[1]), int(found[2])) if found else None


def of_hour(user: UserId, hour: int, amount: Amount, *, open_ms: int | None = None) -> Recorded:
    """An hour of usage as an event, at its end; one that is open is told of a moment in it."""
    end_ms = (hour + 1) * HOUR_MS
    data = Hour(
        hour=hour,
        up_bytes=amount.up,
        down_bytes=amount.down,
        billed_up_bytes=amount.billed_up,
        billed_down_bytes=amount.billed_down,
        open=open_ms is not None,
    )
    return _usage(user, Kind.USAGE_RECORDED, end_ms if open_ms is None else min(open_ms, end_ms), data)


def of_forgotten(user: UserId, life: tuple[int, int], known: Amount, at_ms: int) -> list[Recorded]:
    """What a user was billed, up and down, beyond the hours that are known; nothing is not told."""
    up, down = life[0] - known.billed_up, life[1] - known.billed_down
    if not (up or down):
        return []
    data = Forgotten(billed_up_bytes=up, billed_down_bytes=down)
    return [_usage(user, Kind.USAGE_FORGOTTEN, at_ms, data)]


def page(stored: Iterable[Recorded], hours: Iterable[Recorded], limit: int) -> Page:
    """The first items of both, each of which has its first ones, at most so many."""
    first = sorted([*stored, *hours], key=_place)[:limit]
    return Page(first, _place(first[-1]) if len(first) == limit else None)


def _place(item: Recorded) -> Cursor:
    return Cursor(item.at_ms, item.number)


def _usage(user: UserId, kind: Kind, at_ms: int, data: Data) -> Recorded:
    return Recorded(
        number=0,
        at_ms=at_ms,
        actor=str(SYSTEM),
        kind=kind.value,
        subject=str(course.subject(user)),
        data=msgspec.to_builtins(data),
    )
