"""Turns readings of a core's counters into totals that never fall.

What always holds: a total grows by exactly what the core counted and no earlier reading had shown. A core
that was restarted counts from zero under a new generation; a counter that fell within one generation began
anew. Nothing is ever subtracted, so no order of restarts and readings makes a total smaller.
"""

import functools
from collections.abc import Container, Mapping
from typing import NamedTuple

from agent.core import counting
from agent.core.counting import Count, Meter, Reading


class Standing(NamedTuple):
    """What is known of one meter: totals in bytes, the last count, and the generation it was read from.

    `quarter` is the quarter of an hour in which the totals were reached.
    """

    up: int
    down: int
    quarter: int
    last_up: int
    last_down: int
    generation: str

    @property
    def total(self) -> Count:
        """Bytes since the ledger began."""
        return Count(self.up, self.down)


#: Of a tuple of all fields: without a frame of Python's own.
_standing = functools.partial(tuple.__new__, Standing)


def advance(
    standings: Mapping[Meter, Standing],
    reading: Reading,
    quarter: int,
    confirmed: Container[Meter] = (),
    since: Mapping[Meter, Count] | None = None,
) -> dict[Meter, Standing]:
    """The standings that this reading changes; a meter that the reading does not name stays as it was.

    `quarter` is the one in which the bytes count. A clock that was set back takes no meter back with it whose
    total is not confirmed: the collector would be told a later total of an earlier quarter. What is as it was
    in `since`, counts of the same generation that are in these standings, need not be looked at.
    """
    generation = reading.generation
    changed: dict[Meter, Standing] = {}
    for meter, now_up, now_down in counting.rows(reading.counts, since):
        before = standings.get(meter)
        if before is not None and before.generation == generation:
            up, down = now_up - before.last_up, now_down - before.last_down
            if not up and not down:
                continue
            if up >= 0 and down >= 0 and quarter >= before.quarter:
                # Nearly every row: written out, since ten thousand calls are milliseconds of each poll.
                total = (before.up + up, before.down + down, quarter, now_up, now_down, generation)
                changed[meter] = _standing(total)
                continue
        if not now_up and not now_down and (before is None or before.generation != generation):
            # Ten thousand idle users of a new core are not ten thousand rows to write.
            continue
        if before is None:
            changed[meter] = _standing((now_up, now_down, quarter, now_up, now_down, generation))
        else:
            held = quarter < before.quarter and meter not in confirmed
            count = Count(now_up, now_down)
            changed[meter] = _moved(before, count, generation, before.quarter if held else quarter)
    return changed


def grown(before: Mapping[Meter, Standing], changed: dict[Meter, Standing]) -> dict[Meter, Standing]:
    """Those of the changed whose total is another than before."""
    settled = {
        meter
        for meter, new in changed.items()
        if (old := before.get(meter)) is not None and old.up == new.up and old.down == new.down
    }
    return {meter: new for meter, new in changed.items() if meter not in settled} if settled else changed


def _moved(before: Standing, count: Count, generation: str, quarter: int) -> Standing:
    same = before.generation == generation
    up = before.up + _delta(count.up, before.last_up if same else 0)
    down = before.down + _delta(count.down, before.last_down if same else 0)
    if up == before.up and down == before.down:
        quarter = before.quarter
    return Standing(up, down, quarter, count.up, count.down, generation)


def _delta(now: int, last: int) -> int:
    return now - last if now >= last else now
