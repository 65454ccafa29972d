"""Usage by the hour: what was moved when, grouped for whoever asks (rows H9, R4, T3).

What always holds: hours are whole and in UTC, counted since the epoch. An hour belongs to the day or month in
which it begins; so every hour is in exactly one group, and the sum of the groups is the sum of the hours. A
span takes the hours that begin in it: spans that touch share none.
"""

import bisect
import datetime
import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from collector.domain import names, resets
from collector.domain.resets import Mode, Schedule
from shared.names import EndpointId, UserId

HOUR_MS = 3_600_000
_DAY_HOURS = 24
_DAY_MS = _DAY_HOURS * HOUR_MS
_YEAR_MONTHS = 12
_EPOCH_DAY = datetime.date(1970, 1, 1).toordinal()


class Step(Enum):
    """How the hours of an answer are grouped."""

    HOUR = "hour"
    DAY = "day"
    MONTH = "month"


class By(Enum):
    """Whose usage is ranked."""

    USER = "user"
    NODE = "node"
    ENDPOINT = "endpoint"


class Order(Enum):
    """By what it is ranked: bytes as they were moved, or as they were billed."""

    RAW = "raw"
    BILLED = "billed"


#: Days that one answer may span, and those it spans when nothing is said; both by its step.
_MOST_DAYS = {Step.HOUR: 32, Step.DAY: 400, Step.MONTH: 3_700}
_USUAL_DAYS = {Step.HOUR: 1, Step.DAY: 31, Step.MONTH: 366}
#: Days that a ranking may span: it looks at every hour of everybody.
_MOST_RANKED_DAYS = 32
_MODES = {Step.DAY: Mode.DAILY, Step.MONTH: Mode.MONTHLY}


class Amount(NamedTuple):
    """Bytes, raw and billed; sums may be larger than a column."""

    up: int = 0
    down: int = 0
    billed_up: int = 0
    billed_down: int = 0

    def plus(self, other: "Amount") -> "Amount":
        """Both together."""
        return Amount(*map(sum, zip(self, other, strict=True)))

    def rank(self, order: Order) -> int:
        """What counts in this order."""
        return self.up + self.down if order is Order.RAW else self.billed_up + self.billed_down


NOTHING = Amount()


class Moved(NamedTuple):
    """What a user moved over an endpoint in an hour that is closed."""

    hour: int
    user: UserId
    endpoint: EndpointId
    up: int
    down: int
    billed_up: int
    billed_down: int


class Span(NamedTuple):
    """Hours from `first` on, up to but without `past`."""

    first: int
    past: int

    def within(self, other: "Span") -> "Span":
        """The hours that both have."""
        first = max(self.first, other.first)
        return Span(first, max(first, min(self.past, other.past)))


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked for: usage from one moment to another; 0 is the usual time before `to_ms`, and now."""

    from_ms: int
    to_ms: int
    step: Step
    zone: str


@dataclass(frozen=True)
class Point:
    """What was moved in the step that begins at a moment."""

    start_ms: int
    up: int
    down: int
    billed_up: int
    billed_down: int


@dataclass(frozen=True, kw_only=True)
class History:
    """Usage over the hours that begin from `from_ms` on and before `to_ms`, in all and step by step."""

    step: Step
    zone: str
    from_ms: int
    to_ms: int
    up: int
    down: int
    billed_up: int
    billed_down: int
    points: list[Point]


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """One of those who moved most; without a name it is not known any more."""

    id: int
    name: str | None
    up: int
    down: int
    billed_up: int
    billed_down: int


def span(from_ms: int, to_ms: int) -> Span:
    """The hours that begin at `from_ms` or later and before `to_ms`."""
    first = -(-from_ms // HOUR_MS)
    return Span(first, max(first, -(-to_ms // HOUR_MS)))


def asked(question: Question, now_ms: int) -> Span:
    """The hours that are asked for; the open one is in a span that ends now."""
    end_ms = question.to_ms or now_ms + 1
    usual_ms = _USUAL_DAYS[question.step] * _DAY_MS
    return span(question.from_ms or max(0, end_ms - usual_ms), end_ms)


def wrong(question: Question, now_ms: int, *, ranked: bool = False) -> dict[str, str]:
    """What is wrong with a question, by field."""
    length_ms = (question.to_ms or now_ms + 1) - question.from_ms
    most_days = _MOST_RANKED_DAYS if ranked else _MOST_DAYS[question.step]
    too_long = question.from_ms and length_ms > most_days * _DAY_MS
    hint = "" if ranked or question.step is Step.MONTH else ", or in larger steps"
    return names.collect(
        from_ms="use a moment before to_ms, in ms since the epoch"
        if length_ms <= 0
        else f"ask for at most {most_days} days at once{hint}"
        if too_long
        else None,
        zone=resets.wrong_zone(question.zone),
    )


def history(hours: Mapping[int, Amount], asked: Span, step: Step, zone: str) -> History:
    """The hours of a span, grouped; steps in which nothing was moved are there too.

    Raises:
        ValueError: if the zone is unknown on this host.
    """
    starts = _starts(asked, step, zone)
    groups = [NOTHING] * len(starts)
    for hour, amount in hours.items():
        place = bisect.bisect_right(starts, hour * HOUR_MS) - 1
        groups[place] = groups[place].plus(amount)
    return History(
        step=step,
        zone=zone,
        from_ms=asked.first * HOUR_MS,
        to_ms=asked.past * HOUR_MS,
        **total(groups)._asdict(),
        points=[Point(start_ms, *amount) for start_ms, amount in zip(starts, groups, strict=True)],
    )


def total(amounts: Iterable[Amount]) -> Amount:
    """All of these together."""
    return Amount(*map(sum, zip(NOTHING, *amounts, strict=True)))


def largest(every: Iterable[tuple[int, Amount]], order: Order, most: int) -> list[tuple[int, Amount]]:
    """Those who moved most; of equals the lower number first, who moved nothing never."""
    moved = (one for one in every if any(one[1]))
    return heapq.nsmallest(most, moved, key=lambda one: (-one[1].rank(order), one[0]))


def month_of(hour: int) -> int:
    """The month in UTC that an hour lies in, counted from January of the year 0."""
    day = datetime.date.fromordinal(hour // _DAY_HOURS + _EPOCH_DAY)
    return day.year * _YEAR_MONTHS + day.month - 1


def hours_of_month(month: int) -> Span:
    """The hours of a month in UTC."""
    return Span(_first_hour(month), _first_hour(month + 1))


def month_name(month: int) -> str:
    """A month as people write it: 2026-01."""
    year, of_year = divmod(month, _YEAR_MONTHS)
    return f"{year:04d}-{of_year + 1:02d}"


def oldest_kept(now_ms: int, months: int) -> int | None:
    """The oldest month that is kept when so many closed ones are; None where all are."""
    return month_of(now_ms // HOUR_MS) - months if months else None


def _first_hour(month: int) -> int:
    year, of_year = divmod(month, _YEAR_MONTHS)
    return (datetime.date(year, of_year + 1, 1).toordinal() - _EPOCH_DAY) * _DAY_HOURS


def _starts(asked: Span, step: Step, zone: str) -> list[int]:
    """The moments at which the steps of a span begin; the first one may begin before it."""
    if step is Step.HOUR:
        return [hour * HOUR_MS for hour in range(*asked)]
    schedule = Schedule(mode=_MODES[step], zone=zone)
    starts: list[int] = []
    start_ms: int | None = resets.period_start_ms(schedule, None, asked.first * HOUR_MS)
    while start_ms is not None and start_ms <= (asked.past - 1) * HOUR_MS:
        starts.append(start_ms)
        start_ms = resets.next_reset_ms(schedule, None, start_ms)
    return starts
