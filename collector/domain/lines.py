"""Managers as the writer remembers them: who stands above whom, and how many bytes change only counters.

What always holds: room ends early, never late. All of it can be forgotten at any moment and read again.
"""

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar, cast

from collector.domain.lane import ENDLESS
from collector.domain.leases import Bytes, Ceilings
from shared.names import ManagerId

Figures = TypeVar("Figures", bound=tuple[int, ...])


@dataclass(slots=True)
class Place:
    """A manager below `parent`; `room` is billed bytes that he may be charged before he is looked at."""

    parent: ManagerId | None
    due_ms: int | None
    room: int

    def takes(self, billed_bytes: int, now_ms: int) -> bool:
        """Charge him so much, unless that, or time, may change more than his counters."""
        if billed_bytes >= self.room or (self.due_ms is not None and self.due_ms <= now_ms):
            return False
        if self.room < ENDLESS:
            self.room -= billed_bytes
        return True


def room(limits: Ceilings, notice_percent: int, used: Bytes) -> int:
    """Bytes, by any way they are counted, with fewer than which no limit comes near or is reached."""
    lefts = [
        mark - spent
        for limit, spent in zip(limits, used, strict=True)
        if limit is not None
        for mark in (-(-notice_percent * limit // 100), limit)
        if mark > spent
    ]
    return min(lefts, default=ENDLESS)


def added(deltas: Mapping[ManagerId, Figures], places: Mapping[ManagerId, Place]) -> dict[ManagerId, Figures]:
    """What each manager gets of what is added directly below some; nothing goes to who has no place."""
    found: dict[ManagerId, Figures] = {}
    for leaf, delta in deltas.items():
        number: ManagerId | None = leaf if leaf in places else None
        while number is not None:
            so_far = found.get(number)
            found[number] = (
                delta if so_far is None else cast("Figures", tuple(map(operator.add, so_far, delta)))
            )
            number = places[number].parent
    return found
