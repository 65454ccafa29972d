"""Our meters out of Xray's counters, `user>>>EMAIL>>>traffic>>>uplink`; others are ignored.

What always holds: a reading holds what these counters hold and nothing else. Each account is recognised once:
ten thousand users have twenty thousand counters, read several times a second. Either direction is asked for
by itself, so that an answer is let go before the next one comes.
"""

from array import array
from collections.abc import Iterable
from typing import Protocol

from agent.core.counting import Counts, Meter
from agent.drivers.xray import labels

#: What Xray calls the directions, in the order of a count.
DIRECTIONS = ("uplink", "downlink")
_FIRST = len("user>>>")


class Stat(Protocol):
    """One counter of Xray, as its API tells it."""

    @property
    def name(self) -> str:
        """What Xray calls it."""

    @property
    def value(self) -> int:
        """What it has counted, in bytes."""


def pattern(direction: str) -> str:
    """What only the names of counters of this direction hold."""
    return f">>>traffic>>>{direction}"


class Counters:
    """Knows the counters of one Xray process, which never frees one: whatever is not told stays as it was."""

    def __init__(self) -> None:
        #: Where the counters of an account are among the values, up before down, by its e-mail.
        self._places: dict[str, int] = {}
        self._others: set[str] = set()
        self._meters: list[Meter] = []
        self._values = array("q")

    def take(self, direction: str, stats: Iterable[Stat]) -> None:
        """Take in the counters of one direction, answered to its `pattern`."""
        places, values, last = self._places, self._values[:], -len(pattern(direction))
        step = DIRECTIONS.index(direction)
        for stat in stats:
            name = stat.name
            # An e-mail of ours holds no `>`, so it is found nowhere else in a name that holds the pattern.
            place = places.get(name[_FIRST:last])
            if place is None:
                if (place := self._learn(name, direction)) is None:
                    continue
                values.extend((0, 0))
            values[place + step] = stat.value
        self._values = values

    @property
    def counts(self) -> Counts:
        """The counts of every meter that has a counter; a direction without one is zero."""
        return Counts(self._meters, self._values)

    def _learn(self, name: str, direction: str) -> int | None:
        """Give the account with this counter a place, if it is one of ours."""
        if name in self._others:
            return None
        owner = _owner(name, direction)
        if owner is None:
            self._others.add(name)
            return None
        place = self._places[labels.email(*owner)] = 2 * len(self._meters)
        self._meters.append(owner)
        return place


def _owner(name: str, direction: str) -> Meter | None:
    """The meter whose counter of this direction this is."""
    email = name.partition(">>>")[2].partition(">>>")[0]
    owner = labels.parse_email(email)
    return Meter(*owner) if owner and name == f"user>>>{email}{pattern(direction)}" else None
