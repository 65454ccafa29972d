"""Our meters out of Xray's counters, `user>>>EMAIL>>>traffic>>>uplink`; others are ignored.

What always holds: a reading holds what these counters hold and nothing else. Each name is taken apart once:
ten thousand users have twenty thousand counters, read several times a second.
"""

from array import array
from collections.abc import Collection, Iterable
from typing import Protocol

from agent.core.counting import Counts, Meter
from agent.drivers.xray import labels


class Stat(Protocol):
    """One counter of Xray, as its API tells it."""

    @property
    def name(self) -> str:
        """What Xray calls it."""

    @property
    def value(self) -> int:
        """What it has counted, in bytes."""


class Counters:
    """Knows the counters of one Xray process, which never frees one: whatever is not told stays as it was."""

    def __init__(self) -> None:
        #: Where the value of each counter is, by its name.
        self._places: dict[str, int] = {}
        self._others: set[str] = set()
        self._meters: list[Meter] = []
        self._values = array("q")

    def counts(self, stats: Iterable[Stat]) -> Counts:
        """The counts of every meter that has a counter; a direction without one is zero."""
        places, values = self._places, self._values[:]
        new: dict[str, int] = {}
        for stat in stats:
            name = stat.name
            if (place := places.get(name)) is None:
                new[name] = stat.value
            else:
                values[place] = stat.value
        if new:
            self._learn(new.keys() - self._others)
            values.frombytes(bytes(8 * (2 * len(self._meters) - len(values))))
            for name in new.keys() & places.keys():
                values[places[name]] = new[name]
        self._values = values
        return Counts(self._meters, values)

    def _learn(self, names: Collection[str]) -> None:
        """Give these a place, in the order of the users: what is kept in that order is found side by side."""
        owners = dict(owned for name in names if (owned := _owned(name)))
        for meter in sorted(owners):
            first = len(self._places)
            self._meters.append(meter)
            self._places.update(zip(owners[meter], (first, first + 1), strict=True))
        self._others.update(name for name in names if name not in self._places)


def _owned(name: str) -> tuple[Meter, tuple[str, str]] | None:
    """The meter whose counter this is, and what both of its counters are called."""
    email = name.partition(">>>")[2].partition(">>>")[0]
    both = f"user>>>{email}>>>traffic>>>uplink", f"user>>>{email}>>>traffic>>>downlink"
    owner = labels.parse_email(email)
    return (Meter(*owner), both) if owner and name in both else None
