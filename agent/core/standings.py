"""What stands of every meter that was ever counted, in columns.

What always holds: standings that were handed out never change. What follows is written into a `draft`, which
is those that stand once it is kept. A meter keeps its place for ever: a new one takes the next.
"""

import copy
import functools
import hashlib
from array import array
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import NamedTuple

from agent.core.counting import Count, Counts, Meter


class Standing(NamedTuple):
    """What is known of one meter: totals in bytes, the last count, and the generation it was read from.

    `quarter` is the quarter of an hour in which the totals were reached; `generation` is a `tag`.
    """

    up: int
    down: int
    quarter: int
    last_up: int
    last_down: int
    generation: int

    @property
    def total(self) -> Count:
        """Bytes since the ledger began."""
        return Count(self.up, self.down)


#: As many columns as a standing has numbers, in their order.
COLUMNS = len(Standing._fields)


class Standings(Mapping[Meter, Standing]):
    """One standing for each meter. With an object for each, ten thousand would be milliseconds and megabytes.

    Numbers of 64 bits: what does not fit raises OverflowError.
    """

    def __init__(self, meters: Iterable[Meter] = (), columns: "Iterable[array[int]]" = ()) -> None:
        self.meters = list(meters)
        self.places = {meter: place for place, meter in enumerate(self.meters)}
        self.columns = tuple(columns) or tuple(array("q") for _ in range(COLUMNS))
        #: Whether these meters and places are those of what this is a draft of: copied before one is added.
        self.shared = False

    def __getitem__(self, meter: Meter) -> Standing:
        place = self.places[meter]
        return Standing(*(column[place] for column in self.columns))

    def __contains__(self, meter: object) -> bool:
        return meter in self.places

    def __iter__(self) -> Iterator[Meter]:
        return iter(self.meters)

    def __len__(self) -> int:
        return len(self.meters)

    @property
    def ups(self) -> "array[int]":
        """Bytes up, by place."""
        return self.columns[0]

    @property
    def downs(self) -> "array[int]":
        """Bytes down, by place."""
        return self.columns[1]

    @property
    def quarters(self) -> "array[int]":
        """When the totals were reached, by place."""
        return self.columns[2]

    def draft(self) -> "Standings":
        """The same, to be written to."""
        new = copy.copy(self)
        new.columns = tuple(column[:] for column in self.columns)
        new.shared = True
        return new

    def put(self, meter: Meter, standing: Standing) -> int:
        """Let this stand of a meter, new or known; returns its place. Not for what was handed out."""
        place = self.places.get(meter)
        if place is None:
            place = self._begin(meter)
        for column, number in zip(self.columns, standing, strict=True):
            column[place] = number
        return place

    def totals(self, places: Iterable[int] | None = None) -> Counts:
        """Bytes since the ledger began, of the meters with these places or of all."""
        ups, downs = self.ups, self.downs
        chosen = range(len(self)) if places is None else places
        meters = [self.meters[place] for place in chosen]
        numbers = array("q", bytes(16 * len(meters)))
        numbers[::2] = array("q", [ups[place] for place in chosen])
        numbers[1::2] = array("q", [downs[place] for place in chosen])
        return Counts(meters, numbers)

    def _begin(self, meter: Meter) -> int:
        if self.shared:
            self.meters, self.places, self.shared = [*self.meters], dict(self.places), False
        place = self.places[meter] = len(self.meters)
        self.meters.append(meter)
        for column in self.columns:
            column.append(0)
        return place


class Chosen(Container[Meter]):
    """Some of the meters that have a place: none at first. A byte for each, where a set has a hundred."""

    def __init__(self, standings: Standings) -> None:
        self._places = standings.places
        self._flags = bytearray(len(standings))

    def __contains__(self, meter: object) -> bool:
        place = self._places.get(meter)  # type: ignore[call-overload] # what is no meter has no place
        return place is not None and bool(self._flags[place])

    def follow(self, after: Standings, changed: Iterable[int]) -> None:
        """These stand now; those whom that changed are not chosen any more."""
        self._places = after.places
        self._flags.extend(bytes(len(after) - len(self._flags)))
        for place in changed:
            self._flags[place] = 0

    def add(self, meters: Iterable[Meter]) -> None:
        """Choose these, too."""
        for meter in meters:
            self._flags[self._places[meter]] = 1

    def clear(self) -> None:
        """Choose nobody."""
        self._flags = bytearray(len(self._flags))


@functools.lru_cache(maxsize=64)
def tag(generation: str) -> int:
    """A number for a generation: 64 bits of its hash, too many for two of one node to be the same."""
    digest = hashlib.blake2b(generation.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
