"""What is counted: a user on an endpoint, in bytes of payload, by one process of the core."""

import functools
import itertools
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from shared.names import EndpointId, UserId


class Meter(NamedTuple):
    """One user on one endpoint: the smallest thing that is counted."""

    user: UserId
    endpoint: EndpointId


class Count(NamedTuple):
    """Payload bytes as the core counted them, from the user's side: up is what he sent."""

    up: int
    down: int


#: A meter and its bytes up and down.
Row = tuple[Meter, int, int]


class Counts(Mapping[Meter, Count]):
    """Counts in columns: with an object for each, ten thousand users are milliseconds of every reading.

    `numbers` are up and down in turn, of as many meters as were known then; the list of meters is the same
    for all readings of one process, and grows at its end only.
    """

    def __init__(self, meters: Sequence[Meter], numbers: "array[int]") -> None:
        self.meters = meters
        self.numbers = numbers

    def __getitem__(self, meter: Meter) -> Count:
        return self._each[meter]

    def __iter__(self) -> Iterator[Meter]:
        return itertools.islice(self.meters, len(self))

    def __len__(self) -> int:
        return len(self.numbers) // 2

    def rows(self, since: "Mapping[Meter, Count] | None") -> Iterable[Row]:
        """What has changed since an earlier reading of the same process, if one is given."""
        ups, downs = self.numbers[::2], self.numbers[1::2]
        if not isinstance(since, Counts) or since.meters is not self.meters:
            return zip(self.meters, ups, downs, strict=False)
        before = since.numbers
        if self.numbers == before:
            return ()
        both = zip(self.meters, ups, downs, before[::2], before[1::2], strict=False)
        changed = (
            (meter, up, down)
            for meter, up, down, was_up, was_down in both
            if up != was_up or down != was_down
        )
        known = len(since)
        new = zip(itertools.islice(self.meters, known, None), ups[known:], downs[known:], strict=False)
        return itertools.chain(changed, new)

    @functools.cached_property
    def _each(self) -> dict[Meter, Count]:
        return {meter: Count(up, down) for meter, up, down in self.rows(None)}


def rows(counts: Mapping[Meter, Count], since: Mapping[Meter, Count] | None = None) -> Iterable[Row]:
    """Every meter with its bytes; those that are as they were in an earlier reading may be left out."""
    if isinstance(counts, Counts):
        return counts.rows(since)
    return ((meter, up, down) for meter, (up, down) in counts.items())


@dataclass(frozen=True)
class Reading:
    """All counters of one process at one moment. A meter that never carried a byte may be missing.

    `source` names what counts beyond the end of that process: its next one has the same.
    """

    generation: str
    counts: Mapping[Meter, Count]
    source: str = ""
