"""Resets: in which period a moment lies, and when the next one begins (rows H2, H3).

What always holds, for every zone and every moment: start <= moment < next; periods touch, and none is empty.
A boundary is a reading of the wall clock, worked out from the origin and never from the boundary before, so
nothing drifts. A reading that the clock skips counts at the first moment after the gap; one that it shows
twice counts the first time. Moments are ms since the epoch in UTC, from the year 10 to 9990.
"""

import bisect
import datetime
import functools
import zoneinfo
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from collector.domain import names

_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS
_WEEK_DAYS = 7
_YEAR_MONTHS = 12
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_EPOCH_ORDINAL = _EPOCH.toordinal()
#: ISO number of 1 January 1970, a Thursday.
_EPOCH_WEEKDAY = 4
_MILLISECOND = datetime.timedelta(milliseconds=1)
#: The most days that each month can have.
_LONGEST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
#: A change of the clock by a part of an hour (the worst: 2.5 h in Yangon, 1945) has settled within this time.
_UNSETTLED_MS = 3 * _HOUR_MS
#: Found in zone databases, but they mean this host's zone, or count leap seconds as the epoch does not.
_NO_ZONES = frozenset({"localtime", "posixrules", "posix", "right", "Factory"})


class Mode(Enum):
    """H2: how often what was used starts again from nothing."""

    NEVER = "never"
    HOURLY = "hourly"
    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    YEARLY = "yearly"


class Anchor(Enum):
    """What periods are counted from: the zone's calendar, or the moment the user's package was activated."""

    CALENDAR = "calendar"
    ACTIVATION = "activation"


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """When a package resets.

    `day` belongs to the calendar: 1 (Monday) to 7 for weekly, the day of the month for monthly and yearly; a
    month that is too short has it on its last day. `month` (1 to 12) is for yearly. Left out, each is 1.
    """

    mode: Mode
    zone: str = "UTC"
    anchor: Anchor = Anchor.CALENDAR
    day: int | None = None
    month: int | None = None


class _Days(NamedTuple):
    """Wall-clock boundaries every `length_ms` from `origin_ms`, an ms count as if the clock showed UTC."""

    origin_ms: int
    length_ms: int

    def number(self, wall_ms: int) -> int:
        return (wall_ms - self.origin_ms) // self.length_ms

    def wall_ms(self, number: int) -> int:
        return self.origin_ms + number * self.length_ms


class _Months(NamedTuple):
    """Wall-clock boundaries every `step` months on `day`, or the month's last, `clock_ms` after midnight."""

    first: int
    step: int
    day: int
    clock_ms: int

    def number(self, wall_ms: int) -> int:
        """The boundary in this month or year: the last one reached, or the one after it."""
        today = datetime.date.fromordinal(wall_ms // _DAY_MS + _EPOCH_ORDINAL)
        return (today.year * _YEAR_MONTHS + today.month - 1 - self.first) // self.step

    def wall_ms(self, number: int) -> int:
        month = self.first + number * self.step
        day = min(_first_day(month) + self.day, _first_day(month + 1)) - 1
        return day * _DAY_MS + self.clock_ms


def wrong(schedule: Schedule) -> dict[str, str]:
    """What is wrong with a schedule, by field."""
    of_year = _LONGEST[((schedule.month or 1) - 1) % _YEAR_MONTHS]
    days = {Mode.WEEKLY: _WEEK_DAYS, Mode.MONTHLY: max(_LONGEST), Mode.YEARLY: of_year}
    months = {Mode.YEARLY: _YEAR_MONTHS}
    if schedule.anchor is Anchor.ACTIVATION:
        days, months = {}, {}
    return names.collect(
        zone=wrong_zone(schedule.zone),
        day=_outside(schedule.day, days.get(schedule.mode)),
        month=_outside(schedule.month, months.get(schedule.mode)),
    )


def wrong_zone(zone: str) -> str | None:
    """What is wrong with the name of a zone, or None."""
    try:
        _tzinfo(zone)
    except ValueError as error:
        return str(error)
    return None


def period_start_ms(schedule: Schedule, activated_ms: int | None, moment_ms: int) -> int:
    """When the period that holds the moment began.

    It is 0 where there is one period for ever: resets never, or from an activation that has not happened.

    Raises:
        ValueError: if the zone is unknown on this host.
    """
    return _period(schedule, activated_ms, moment_ms)[0]


def next_reset_ms(schedule: Schedule, activated_ms: int | None, moment_ms: int) -> int | None:
    """The first reset after the moment; None where none comes.

    Raises:
        ValueError: if the zone is unknown on this host.
    """
    return _period(schedule, activated_ms, moment_ms)[1]


def expires_ms(started_ms: int | None, duration_s: int | None) -> int | None:
    """When a package ends, in seconds of real time from its start; None if it has no end or has not begun."""
    if started_ms is None or duration_s is None:
        return None
    return started_ms + duration_s * 1000


def _period(schedule: Schedule, activated_ms: int | None, moment_ms: int) -> tuple[int, int | None]:
    origin_ms = activated_ms if schedule.anchor is Anchor.ACTIVATION else None
    endless = origin_ms is None and schedule.anchor is Anchor.ACTIVATION
    if endless or schedule.mode is Mode.NEVER:
        return 0, None
    if schedule.mode is not Mode.HOURLY:
        return _long_period(schedule, origin_ms, moment_ms)
    if origin_ms is None:
        return _clock_hour(schedule.zone, moment_ms)
    start_ms = moment_ms - (moment_ms - origin_ms) % _HOUR_MS
    return start_ms, start_ms + _HOUR_MS


def _long_period(schedule: Schedule, origin_ms: int | None, moment_ms: int) -> tuple[int, int]:
    """The period that the wall clock's reading names, or one beside it, as after a turn of the clock."""
    zone = schedule.zone
    if origin_ms is None:
        origin_wall_ms, rhythm = None, _calendar(schedule)
    else:
        origin_wall_ms = origin_ms + _offset_ms(zone, origin_ms)
        rhythm = _from_activation(schedule.mode, origin_wall_ms)

    def boundary_ms(number: int) -> int:
        wall_ms = rhythm.wall_ms(number)
        # An activation in an hour that the clock shows twice is itself the origin, not its namesake before.
        if origin_ms is not None and wall_ms == origin_wall_ms:
            return origin_ms
        return _first_shown_ms(zone, wall_ms)

    number = rhythm.number(moment_ms + _offset_ms(zone, moment_ms))
    while (start_ms := boundary_ms(number)) > moment_ms:
        number -= 1
    while (end_ms := boundary_ms(number + 1)) <= moment_ms:
        number, start_ms = number + 1, end_ms
    return start_ms, end_ms


def _calendar(schedule: Schedule) -> _Days | _Months:
    day = schedule.day or 1
    if schedule.mode is Mode.DAILY:
        return _Days(0, _DAY_MS)
    if schedule.mode is Mode.WEEKLY:
        return _Days((day - _EPOCH_WEEKDAY) * _DAY_MS, _WEEK_DAYS * _DAY_MS)
    if schedule.mode is Mode.MONTHLY:
        return _Months(0, 1, day, 0)
    return _Months((schedule.month or 1) - 1, _YEAR_MONTHS, day, 0)


def _from_activation(mode: Mode, wall_ms: int) -> _Days | _Months:
    if mode is Mode.DAILY:
        return _Days(wall_ms, _DAY_MS)
    if mode is Mode.WEEKLY:
        return _Days(wall_ms, _WEEK_DAYS * _DAY_MS)
    days, clock_ms = divmod(wall_ms, _DAY_MS)
    today = datetime.date.fromordinal(days + _EPOCH_ORDINAL)
    step = 1 if mode is Mode.MONTHLY else _YEAR_MONTHS
    return _Months(today.month - 1, step, today.day, clock_ms)


def _clock_hour(zone: str, moment_ms: int) -> tuple[int, int]:
    """The absolute hour from one full hour of the zone's clock to the next.

    Where the clock moves by a part of an hour (Lord Howe: 30 minutes), the hour that it was in ends when it
    next shows a full hour, or has skipped it: the one period that is shorter or longer.
    """
    before_ms = _offset_ms(zone, moment_ms - _UNSETTLED_MS)
    after_ms = _offset_ms(zone, moment_ms + _HOUR_MS)
    start_ms = moment_ms - (moment_ms + after_ms) % _HOUR_MS
    if (after_ms - before_ms) % _HOUR_MS == 0:
        return start_ms, start_ms + _HOUR_MS
    turn_ms = _first_ms(zone, moment_ms - _UNSETTLED_MS, moment_ms + _HOUR_MS, before_ms)
    running_ms = turn_ms - 1 - (turn_ms - 1 + before_ms) % _HOUR_MS
    if moment_ms < running_ms:
        start_ms = moment_ms - (moment_ms + before_ms) % _HOUR_MS
        return start_ms, start_ms + _HOUR_MS
    end_ms = max(turn_ms, running_ms + before_ms + _HOUR_MS - after_ms)
    if moment_ms < end_ms:
        return running_ms, end_ms
    return max(start_ms, end_ms), start_ms + _HOUR_MS


def _first_shown_ms(zone: str, wall_ms: int) -> int:
    """The first moment at which the zone's clock shows this reading or, if it never does, has passed it."""
    offset_ms = _steady_ms(zone, wall_ms // _DAY_MS)
    if offset_ms is not None:
        return wall_ms - offset_ms
    # Of a reading that is skipped, fold 0 has the offset from before the gap (PEP 495).
    reading = (_EPOCH + wall_ms * _MILLISECOND).replace(tzinfo=_tzinfo(zone), fold=0)
    moment_ms = (reading - _EPOCH) // _MILLISECOND
    before_ms = wall_ms - moment_ms
    gap_ms = _offset_ms(zone, moment_ms) - before_ms
    return _first_ms(zone, moment_ms - gap_ms, moment_ms, before_ms)


def _first_ms(zone: str, low_ms: int, high_ms: int, before_ms: int) -> int:
    """The first moment from `low_ms` on, at most `high_ms`, when the zone has left its offset `before_ms`."""
    between = range(low_ms, high_ms)
    return low_ms + bisect.bisect(between, x=False, key=lambda at_ms: _offset_ms(zone, at_ms) != before_ms)


def _offset_ms(zone: str, moment_ms: int) -> int:
    """What the zone's clock is ahead of UTC."""
    offset_ms = _steady_ms(zone, moment_ms // _DAY_MS)
    return _turning_ms(zone, moment_ms) if offset_ms is None else offset_ms


def _turning_ms(zone: str, moment_ms: int) -> int:
    reading = (_EPOCH + moment_ms * _MILLISECOND).astimezone(_tzinfo(zone))
    return (reading.replace(tzinfo=datetime.UTC) - _EPOCH) // _MILLISECOND - moment_ms


@functools.lru_cache(maxsize=16_384)
def _steady_ms(zone: str, day: int) -> int | None:
    """The zone's offset if it stays one through this day, counted from the epoch, and a day to each side.

    It makes most questions plain arithmetic: no clock is a day or more from UTC.
    """
    first, *others = (_turning_ms(zone, edge * _DAY_MS) for edge in range(day - 1, day + 3))
    return first if all(other == first for other in others) else None


@functools.lru_cache(maxsize=1_024)
def _tzinfo(zone: str) -> datetime.tzinfo:
    if zone == "UTC":
        return datetime.UTC  # also where the host has no zone database
    try:
        if zone.partition("/")[0] not in _NO_ZONES:
            return zoneinfo.ZoneInfo(zone)
    except (LookupError, OSError, ValueError):
        pass  # Python's releases differ in which of them a folder's name is
    raise ValueError(
        f"this host knows no zone {zone[:64]!r}: use an IANA name such as Europe/Berlin or UTC; "
        "if the name is right, install the zone database (package tzdata)"
    )


def _first_day(month: int) -> int:
    """The first day of a month, both counted from where they begin: the epoch, January of the year 0."""
    year, month = divmod(month, _YEAR_MONTHS)
    return datetime.date(year, month + 1, 1).toordinal() - _EPOCH_ORDINAL


def _outside(number: int | None, highest: int | None) -> str | None:
    if number is None or (highest is not None and 1 <= number <= highest):
        return None
    if highest is None:
        return "leave it out: resets of this mode and anchor have none"
    return f"use 1 to {highest}, or leave it out for 1"
