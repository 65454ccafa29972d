"""Turns readings of a core's counters into totals that never fall.

What always holds: a total grows by exactly what the core counted and no earlier reading had shown. A core
that was restarted counts from zero under a new generation; a counter that fell within one generation began
anew. Nothing is ever subtracted, so no order of restarts and readings makes a total smaller.
"""

from collections.abc import Mapping
from typing import NamedTuple

from agent.core.counting import Count, Meter, Reading

_NOTHING = Count(0, 0)


class Standing(NamedTuple):
    """What is known of one meter: totals in bytes, the last count, and the generation it was read from."""

    up: int
    down: int
    last_up: int
    last_down: int
    generation: str

    @property
    def total(self) -> Count:
        """Bytes since the ledger began."""
        return Count(self.up, self.down)


def advance(standings: Mapping[Meter, Standing], reading: Reading) -> dict[Meter, Standing]:
    """The standings that this reading changes; a meter that the reading does not name stays as it was."""
    generation = reading.generation
    changed: dict[Meter, Standing] = {}
    for meter, count in reading.counts.items():
        before = standings.get(meter)
        if count == _NOTHING and (before is None or before.generation != generation):
            # Ten thousand idle users of a new core are not ten thousand rows to write.
            continue
        if before is None:
            changed[meter] = Standing(count.up, count.down, count.up, count.down, generation)
        elif before[2:] != (count.up, count.down, generation):
            changed[meter] = _moved(before, count, generation)
    return changed


def _moved(before: Standing, count: Count, generation: str) -> Standing:
    same = before.generation == generation
    return Standing(
        before.up + _delta(count.up, before.last_up if same else 0),
        before.down + _delta(count.down, before.last_down if same else 0),
        count.up,
        count.down,
        generation,
    )


def _delta(now: int, last: int) -> int:
    return now - last if now >= last else now
