"""Turns readings of a core's counters into totals that never fall.

What always holds: a total grows by exactly what the core counted and no earlier reading had shown. A core
that was restarted counts from zero under a new generation; a counter that fell within one generation began
anew. Nothing is ever subtracted, so no order of restarts and readings makes a total smaller.
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

from agent.core import counting, standings
from agent.core.counting import Count, Counts, Meter, Reading
from agent.core.standings import Standing, Standings


@dataclass(frozen=True, kw_only=True)
class Advanced:
    """What stands after a reading; the places of what it changed, and of them those whose total grew."""

    standings: Standings
    changed: Sequence[int] = ()
    grown: Sequence[int] = ()

    @property
    def totals(self) -> Counts:
        """The totals that grew."""
        return self.standings.totals(self.grown)


def advance(
    before: Standings,
    reading: Reading,
    quarter: int,
    confirmed: Container[Meter] = (),
    since: Mapping[Meter, Count] | None = None,
) -> Advanced:
    """What stands after this reading; a meter that it does not name stays as it was.

    `quarter` is the one in which the bytes count. A clock that was set back takes no meter back with it whose
    total is not confirmed: the collector would be told a later total of an earlier quarter. What is as it was
    in `since`, counts of the same generation that are in these standings, need not be looked at. Raises
    OverflowError for a counter beyond 64 bits.
    """
    rows = counting.rows(reading.counts, since)
    if rows == ():
        return Advanced(standings=before)
    generation, after = standings.tag(reading.generation), before.draft()
    places = before.places
    ups, downs, quarters, last_ups, last_downs, generations = after.columns
    grown: list[int] = []
    others: list[int] = []
    for meter, now_up, now_down in rows:
        place = places.get(meter)
        if place is not None and generations[place] == generation:
            up, down = now_up - last_ups[place], now_down - last_downs[place]
            if not up and not down:
                continue
            if up >= 0 and down >= 0 and quarter >= quarters[place]:
                # Nearly every row: written out, since ten thousand calls are milliseconds of each poll.
                ups[place] += up
                downs[place] += down
                quarters[place] = quarter
                last_ups[place], last_downs[place] = now_up, now_down
                grown.append(place)
                continue
        elif not now_up and not now_down:
            # Ten thousand idle users of a new core are not ten thousand rows to write.
            continue
        old = None if place is None else after[meter]
        new = _moved(old, Count(now_up, now_down), generation, quarter, held=meter not in confirmed)
        place = after.put(meter, new)
        (others if old is not None and old.total == new.total else grown).append(place)
    if not grown and not others:
        return Advanced(standings=before)
    return Advanced(standings=after, changed=grown + others, grown=grown)


def _moved(before: Standing | None, count: Count, generation: int, quarter: int, *, held: bool) -> Standing:
    """What stands after this count; who is `held` does not go back to an earlier quarter."""
    if before is None:
        return Standing(count.up, count.down, quarter, count.up, count.down, generation)
    same = before.generation == generation
    up = before.up + _delta(count.up, before.last_up if same else 0)
    down = before.down + _delta(count.down, before.last_down if same else 0)
    if (up == before.up and down == before.down) or (held and quarter < before.quarter):
        quarter = before.quarter
    return Standing(up, down, quarter, count.up, count.down, generation)


def _delta(now: int, last: int) -> int:
    return now - last if now >= last else now
