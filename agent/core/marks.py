"""When bytes were used: totals at the ends of quarters of an hour, kept until they are confirmed.

What always holds:
- Bytes count in the quarter in which the interval between two readings began. So nothing that was used before
  a boundary counts after it. What was used after it and shown by the first reading behind it counts before
  it, to the user's advantage in the period that begins. The counters are read when a quarter begins, so that
  is next to nothing; it is more where the core could not be read then, or the disk not be written.
- The marks of a meter rise, in quarter and in total, and its present total stands above them all.
- Marks that nobody confirms get coarser with age, each standing for more time; their totals stay right, and
  what they merge counts in the first of their quarters, never later than it was used.
"""

import itertools
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple

from agent.core.counting import Meter
from agent.core.standings import Standing, Standings
from shared.messages import Past, Report, Usage
from shared.names import QUARTER_MS

_HOUR, _DAY = 4, 96
#: Older than every quarter there is.
_EVER = 2**62
#: From an age in quarters on: how many quarters one mark stands for. Limited users move nothing that is older
#: than a day, since their leases have run out by then.
LADDER = ((2 * _DAY, _HOUR), (4 * _DAY, _DAY), (32 * _DAY, _EVER))
#: Most marks of a meter, however long nobody confirms them: one a quarter for two days, one an hour for two
#: more, one a day up to the thirty-second, one for all before; and a block that is not full at each step.
MOST_MARKS = 2 * _DAY + 2 * _DAY // _HOUR + 28 + 1 + len(LADDER)


class Merge(NamedTuple):
    """Marks from the quarter `first` up to the one before `until`: one is left of each `grain` quarters."""

    first: int
    until: int
    grain: int


@dataclass(frozen=True, kw_only=True)
class Told:
    """What one report tells: totals of one quarter, and of earlier ones, oldest first."""

    quarter: int
    rows: list[Usage]
    past: list[Past]


def quarter(at_ms: int) -> int:
    """The quarter of an hour of this moment, counted since the epoch."""
    return at_ms // QUARTER_MS


def pause_s(at_ms: int, longest_s: float) -> float:
    """Seconds to the next reading: at most so long, and no further than the next boundary."""
    return min(longest_s, (QUARTER_MS - at_ms % QUARTER_MS) / 1000)


def left_behind(
    before: Standings, after: Standings, grown: Iterable[int], confirmed: Container[Meter]
) -> list[Past]:
    """Marks of the meters that move on to a later quarter while their total is not confirmed."""
    old, new, known = before.quarters, after.quarters, len(before)
    moved_on = [place for place in grown if place < known and old[place] < new[place]]
    return [
        Past(*before.meters[place], before.ups[place], before.downs[place], old[place])
        for place in moved_on
        if before.meters[place] not in confirmed
    ]


def present(standings: Mapping[Meter, Standing], report: Report) -> Iterator[Meter]:
    """The meters whose present total this report tells."""
    for row in itertools.chain[Usage | Past](report.past, report.rows):
        meter = Meter(row.user, row.endpoint)
        standing = standings.get(meter)
        if standing is not None and standing.up == row.up and standing.down == row.down:
            yield meter


def merges(before: int, now: int) -> list[Merge]:
    """What gets coarser when `now` is the quarter, and `before` was when this was asked last."""
    if now <= before:
        return []
    return [Merge((before - age) // grain * grain, now - age, grain) for age, grain in LADDER if now > age]


def compose(
    kept: Sequence[Past],
    told: Iterable[Meter],
    standings: Mapping[Meter, Standing],
    confirmed: Container[Meter],
    present: int,
) -> Told:
    """A report of these marks and of the present totals of these meters.

    The caller gives all marks there are, or no meter: a total that overtook an older mark of its meter would
    take the mark's bytes with it into its own quarter. A total that was confirmed has no time any more.
    `present` is the quarter of a report without news.
    """
    totals = [(meter, standings[meter]) for meter in told]
    news = {standing.quarter for meter, standing in totals if meter not in confirmed}
    newest = max(news, default=present)
    rows: list[Usage] = []
    past = list(kept)
    for meter, (up, down, reached, *_) in totals:
        if reached == newest or meter in confirmed:
            rows.append(Usage(meter.user, meter.endpoint, up, down))
        else:
            past.append(Past(meter.user, meter.endpoint, up, down, reached))
    return Told(quarter=newest, rows=rows, past=sorted(past, key=attrgetter("quarter")))
