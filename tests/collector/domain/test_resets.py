"""Periods by the clocks of real zones: what always holds, and the days on which calendars are strange."""

import calendar
import datetime
import os
import subprocess
import sys
import zoneinfo
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.domain import resets
from collector.domain.resets import Anchor, Mode, Schedule

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
ZONES = (
    *("UTC", "Asia/Tehran", "Asia/Kathmandu", "Asia/Kolkata", "Africa/Casablanca", "America/Sao_Paulo"),
    *("America/New_York", "America/St_Johns", "Europe/Berlin", "Australia/Lord_Howe", "Pacific/Apia"),
)
REPEATING = tuple(mode for mode in Mode if mode is not Mode.NEVER)
LONG = tuple(mode for mode in REPEATING if mode is not Mode.HOURLY)
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def at(text: str, zone: str = "UTC", fold: int = 0) -> int:
    """The moment, in ms, at which the zone's clock shows this reading."""
    reading = datetime.datetime.fromisoformat(text).replace(tzinfo=zoneinfo.ZoneInfo(zone), fold=fold)
    return (reading - EPOCH) // datetime.timedelta(milliseconds=1)


def reading(moment_ms: int, zone: str) -> datetime.datetime:
    moment = EPOCH + datetime.timedelta(milliseconds=moment_ms)
    return moment.astimezone(zoneinfo.ZoneInfo(zone)).replace(tzinfo=None)


def shown(moment_ms: int | None, zone: str) -> str:
    assert moment_ms is not None
    return reading(moment_ms, zone).isoformat(" ", "auto").removesuffix(":00")


def following(schedule: Schedule, activated_ms: int | None, moment_ms: int) -> int:
    reset_ms = resets.next_reset_ms(schedule, activated_ms, moment_ms)
    assert reset_ms is not None
    return reset_ms


def boundaries(schedule: Schedule, activated_ms: int | None, from_ms: int, until_ms: int) -> Iterator[int]:
    moment_ms = from_ms
    while (moment_ms := following(schedule, activated_ms, moment_ms)) < until_ms:
        yield moment_ms


def readings(schedule: Schedule, activated_ms: int | None, since: str, count: int) -> list[str]:
    found, moment_ms = [], at(since, schedule.zone)
    for _ in range(count):
        moment_ms = following(schedule, activated_ms, moment_ms)
        found.append(shown(moment_ms, schedule.zone))
    return found


def turns(zone: str) -> list[int]:
    """Days, as ms, near which the zone's clock is changed."""
    clock = zoneinfo.ZoneInfo(zone)
    days = [EPOCH + datetime.timedelta(days=day) for day in range(1, 25_000)]
    offsets = [day.astimezone(clock).utcoffset() for day in days]
    return [
        (late - EPOCH) // datetime.timedelta(milliseconds=1)
        for late, (before, after) in zip(days[1:], pairwise(offsets), strict=True)
        if before != after
    ]


TURNS = {zone: turns(zone) or [0] for zone in ZONES}


@st.composite
def moments(draw: st.DrawFn, zone: str) -> int:
    """Half of them within two days of a change of the zone's clock, many on a full half hour."""
    near = draw(st.booleans())
    base_ms = draw(st.sampled_from(TURNS[zone])) if near else draw(st.integers(0, 130 * 365)) * DAY_MS
    half_hours = draw(st.integers(-96, 96))
    return base_ms + half_hours * HOUR_MS // 2 + draw(st.sampled_from((0, 0, -1, 1, 754_321)))


@st.composite
def cases(draw: st.DrawFn, modes: tuple[Mode, ...] = REPEATING) -> tuple[Schedule, int, int, int]:
    """A schedule, an activation and two moments in order."""
    zone, mode = draw(st.sampled_from(ZONES)), draw(st.sampled_from(modes))
    anchor = draw(st.sampled_from(Anchor))
    highest_day = {Mode.WEEKLY: 7, Mode.MONTHLY: 31, Mode.YEARLY: 28}.get(mode)
    day = draw(st.none() | st.integers(1, highest_day)) if highest_day and anchor is Anchor.CALENDAR else None
    month = draw(st.integers(1, 12)) if mode is Mode.YEARLY and day else None
    schedule = Schedule(mode=mode, zone=zone, anchor=anchor, day=day, month=month)
    assert resets.wrong(schedule) == {}
    activated_ms = draw(moments(zone))
    first, second = sorted((draw(moments(zone)), draw(moments(zone))))
    return schedule, activated_ms, first, second


@given(case=cases())
def test_every_moment_lies_in_exactly_one_period_and_periods_touch(
    case: tuple[Schedule, int, int, int],
) -> None:
    schedule, activated_ms, moment_ms, _ = case
    start_ms = resets.period_start_ms(schedule, activated_ms, moment_ms)
    next_ms = following(schedule, activated_ms, moment_ms)
    assert start_ms <= moment_ms < next_ms
    for inside_ms in (start_ms, next_ms - 1):
        assert resets.period_start_ms(schedule, activated_ms, inside_ms) == start_ms
        assert following(schedule, activated_ms, inside_ms) == next_ms
    assert resets.period_start_ms(schedule, activated_ms, next_ms) == next_ms
    assert following(schedule, activated_ms, start_ms - 1) == start_ms


@given(case=cases())
def test_a_later_moment_never_lies_in_an_earlier_period(case: tuple[Schedule, int, int, int]) -> None:
    schedule, activated_ms, first_ms, second_ms = case
    starts = [resets.period_start_ms(schedule, activated_ms, moment) for moment in (first_ms, second_ms)]
    nexts = [following(schedule, activated_ms, moment) for moment in (first_ms, second_ms)]
    assert starts == sorted(starts)
    assert nexts == sorted(nexts)
    assert (starts[0] == starts[1]) == (nexts[0] == nexts[1])


@given(case=cases())
def test_a_period_begins_at_the_activation_itself(case: tuple[Schedule, int, int, int]) -> None:
    schedule, activated_ms, _, _ = case
    if schedule.anchor is Anchor.ACTIVATION:
        assert resets.period_start_ms(schedule, activated_ms, activated_ms) == activated_ms


@given(data=st.data(), zone=st.sampled_from(ZONES))
def test_a_day_begins_at_midnight_or_at_the_first_moment_after_it_that_exists(
    data: st.DataObject, zone: str
) -> None:
    schedule = Schedule(mode=Mode.DAILY, zone=zone)
    start_ms = resets.period_start_ms(schedule, None, data.draw(moments(zone)))
    today, before = reading(start_ms, zone), reading(start_ms - 1, zone)
    midnight = datetime.datetime.combine(today.date(), datetime.time())
    assert before < midnight <= today
    if today != midnight:
        assert today - before > datetime.timedelta(milliseconds=1), "the clock did not skip midnight"


@given(data=st.data(), zone=st.sampled_from(ZONES), mode=st.sampled_from((Mode.WEEKLY, Mode.MONTHLY)))
def test_a_week_or_month_begins_where_one_of_its_days_does(
    data: st.DataObject, zone: str, mode: Mode
) -> None:
    moment_ms = data.draw(moments(zone))
    start_ms = resets.period_start_ms(Schedule(mode=mode, zone=zone), None, moment_ms)
    assert start_ms == resets.period_start_ms(Schedule(mode=Mode.DAILY, zone=zone), None, start_ms)


@given(data=st.data(), zone=st.sampled_from(ZONES))
def test_a_clock_hour_is_an_hour_except_where_the_clock_moves_by_a_part_of_one(
    data: st.DataObject, zone: str
) -> None:
    moment_ms = data.draw(moments(zone))
    schedule = Schedule(mode=Mode.HOURLY, zone=zone)
    start_ms = resets.period_start_ms(schedule, None, moment_ms)
    length_ms = following(schedule, None, moment_ms) - start_ms
    first, last = reading(start_ms, zone), reading(start_ms + length_ms, zone)
    if length_ms == HOUR_MS:
        assert (first.minute, first.second, first.microsecond) == (0, 0, 0)
    else:
        assert HOUR_MS // 2 <= length_ms <= HOUR_MS * 3 // 2 or zone == "Asia/Kathmandu"
        assert last - first != datetime.timedelta(milliseconds=length_ms) or first.minute != 0


@given(data=st.data(), zone=st.sampled_from(ZONES), mode=st.sampled_from(LONG))
def test_ten_years_after_the_activation_the_clock_shows_its_time_of_day(
    data: st.DataObject, zone: str, mode: Mode
) -> None:
    activated_ms = data.draw(moments(zone))
    origin = reading(activated_ms, zone)
    schedule = Schedule(mode=mode, zone=zone, anchor=Anchor.ACTIVATION)
    late_ms = activated_ms + 10 * 365 * DAY_MS
    for start_ms in boundaries(schedule, activated_ms, late_ms, late_ms + 90 * DAY_MS):
        today = reading(start_ms, zone)
        if today.time() == origin.time():
            assert _fits(mode, origin, today)
        else:
            wanted = datetime.datetime.combine(today.date(), origin.time())
            assert reading(start_ms - 1, zone) < wanted < today, "moved though the time exists"


def _fits(mode: Mode, origin: datetime.datetime, today: datetime.datetime) -> bool:
    if mode is Mode.DAILY:
        return True
    if mode is Mode.WEEKLY:
        return today.weekday() == origin.weekday()
    last = calendar.monthrange(today.year, today.month)[1]
    return today.day == min(origin.day, last) and (mode is Mode.MONTHLY or today.month == origin.month)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("anchor", Anchor)
def test_ten_years_have_as_many_periods_as_the_calendar_says(zone: str, anchor: Anchor) -> None:
    activated_ms = at("2012-01-01 00:00", zone)
    until_ms = at("2022-01-01 00:00", zone)
    expected = {Mode.DAILY: 3653, Mode.WEEKLY: 522, Mode.MONTHLY: 120, Mode.YEARLY: 10}
    for mode, count in expected.items():
        schedule = Schedule(mode=mode, zone=zone, anchor=anchor)
        found = list(boundaries(schedule, activated_ms, activated_ms - 1, until_ms))
        assert abs(len(found) - count) <= (mode is Mode.WEEKLY), mode


def test_the_last_day_of_a_short_month_stands_for_day_31_without_drifting() -> None:
    schedule = Schedule(mode=Mode.MONTHLY, zone="Europe/Berlin", day=31)
    assert readings(schedule, None, "2024-01-15 00:00", 4) == [
        *("2024-01-31 00:00", "2024-02-29 00:00", "2024-03-31 00:00", "2024-04-30 00:00")
    ]
    activated_ms = at("2023-01-31 18:20", "Europe/Berlin")
    schedule = Schedule(mode=Mode.MONTHLY, zone="Europe/Berlin", anchor=Anchor.ACTIVATION)
    assert readings(schedule, activated_ms, "2023-01-31 18:20", 4) == [
        *("2023-02-28 18:20", "2023-03-31 18:20", "2023-04-30 18:20", "2023-05-31 18:20")
    ]


def test_29_february_is_the_28th_in_common_years_and_comes_back() -> None:
    fixed = Schedule(mode=Mode.YEARLY, day=29, month=2)
    moving = Schedule(mode=Mode.YEARLY, anchor=Anchor.ACTIVATION)
    days = ["2025-02-28", "2026-02-28", "2027-02-28", "2028-02-29"]
    assert readings(fixed, None, "2024-03-01 00:00", 4) == [f"{day} 00:00" for day in days]
    activated_ms = at("2024-02-29 07:45")
    assert readings(moving, activated_ms, "2024-02-29 07:45", 4) == [f"{day} 07:45" for day in days]


def test_a_century_without_its_leap_day_is_known() -> None:
    fixed = Schedule(mode=Mode.YEARLY, day=29, month=2)
    assert readings(fixed, None, "2099-06-01 00:00", 1) == ["2100-02-28 00:00"]


def test_calendar_boundaries_without_a_fixed_day_are_the_first_ones() -> None:
    moment, zone = "2026-08-19 12:00", "Asia/Tehran"
    expected = {
        Mode.HOURLY: "2026-08-19 13:00",
        Mode.DAILY: "2026-08-20 00:00",
        Mode.WEEKLY: "2026-08-24 00:00",
        Mode.MONTHLY: "2026-09-01 00:00",
        Mode.YEARLY: "2027-01-01 00:00",
    }
    assert {
        mode: readings(Schedule(mode=mode, zone=zone), None, moment, 1)[0] for mode in expected
    } == expected


@pytest.mark.parametrize(("day", "expected"), [(1, "2026-08-24"), (3, "2026-08-26"), (7, "2026-08-23")])
def test_a_week_begins_on_the_day_that_is_asked_for(day: int, expected: str) -> None:
    schedule = Schedule(mode=Mode.WEEKLY, zone="Asia/Tehran", day=day)
    assert readings(schedule, None, "2026-08-19 12:00", 1) == [f"{expected} 00:00"]  # a Wednesday


def test_days_of_23_and_25_hours_are_counted_as_such() -> None:
    schedule = Schedule(mode=Mode.DAILY, zone="Europe/Berlin")
    lengths = []
    for noon in ("2026-03-29 12:00", "2026-10-25 12:00", "2026-10-26 12:00"):
        moment_ms = at(noon, "Europe/Berlin")
        length_ms = following(schedule, None, moment_ms) - resets.period_start_ms(schedule, None, moment_ms)
        lengths.append(length_ms // HOUR_MS)
    assert lengths == [23, 25, 24]


def test_a_midnight_that_the_clock_skips_is_the_first_moment_after_the_gap() -> None:
    schedule = Schedule(mode=Mode.DAILY, zone="America/Sao_Paulo")
    assert readings(schedule, None, "2018-11-03 12:00", 2) == ["2018-11-04 01:00", "2018-11-05 00:00"]


def test_a_midnight_that_the_clock_shows_twice_counts_once() -> None:
    zone = "America/St_Johns"  # until 2011 its clock went back at 00:01, to 23:01 of the day before
    schedule = Schedule(mode=Mode.DAILY, zone=zone)
    first_ms = at("2010-11-07 00:00", zone)
    assert readings(schedule, None, "2010-11-06 12:00", 2) == ["2010-11-07 00:00", "2010-11-08 00:00"]
    again_ms = first_ms + 31 * 60_000
    assert shown(again_ms, zone) == "2010-11-06 23:31"
    assert resets.period_start_ms(schedule, None, again_ms) == first_ms


def test_a_time_of_day_that_is_skipped_once_comes_back_the_day_after() -> None:
    zone = "America/New_York"
    schedule = Schedule(mode=Mode.DAILY, zone=zone, anchor=Anchor.ACTIVATION)
    activated_ms = at("2026-03-01 02:30", zone)
    assert readings(schedule, activated_ms, "2026-03-07 03:00", 2) == ["2026-03-08 03:00", "2026-03-09 02:30"]


def test_a_skipped_evening_is_found_where_it_is_already_the_next_day_in_utc() -> None:
    zone = "America/Nuuk"  # on 26 March 2022 its clock went from 22:00 to 23:00
    schedule = Schedule(mode=Mode.DAILY, zone=zone, anchor=Anchor.ACTIVATION)
    activated_ms = at("2022-03-01 22:30", zone)
    assert readings(schedule, activated_ms, "2022-03-26 12:00", 2) == ["2022-03-26 23:00", "2022-03-27 22:30"]


def test_an_activation_in_the_second_of_two_equal_hours_is_its_own_boundary() -> None:
    zone = "Europe/Berlin"
    schedule = Schedule(mode=Mode.DAILY, zone=zone, anchor=Anchor.ACTIVATION)
    activated_ms = at("2026-10-25 02:30", zone, fold=1)
    before_ms = activated_ms - HOUR_MS
    assert resets.period_start_ms(schedule, activated_ms, activated_ms) == activated_ms
    assert following(schedule, activated_ms, before_ms) == activated_ms
    assert readings(schedule, activated_ms, "2026-10-25 12:00", 1) == ["2026-10-26 02:30"]


def test_a_day_that_a_country_leaves_out_has_no_period() -> None:
    zone = "Pacific/Apia"  # 30 December 2011 did not happen there
    assert readings(Schedule(mode=Mode.DAILY, zone=zone), None, "2011-12-28 12:00", 3) == [
        *("2011-12-29 00:00", "2011-12-31 00:00", "2012-01-01 00:00")
    ]
    weekly = Schedule(mode=Mode.WEEKLY, zone=zone, day=5)
    assert readings(weekly, None, "2011-12-29 12:00", 2) == ["2011-12-31 00:00", "2012-01-06 00:00"]
    monthly = Schedule(mode=Mode.MONTHLY, zone=zone, day=30)
    assert readings(monthly, None, "2011-12-01 12:00", 2) == ["2011-12-31 00:00", "2012-01-30 00:00"]


@pytest.mark.parametrize(
    ("zone", "minute"), [("Asia/Kolkata", 30), ("Asia/Kathmandu", 15), ("Asia/Tehran", 30), ("UTC", 0)]
)
def test_an_hour_follows_the_minutes_of_the_zones_clock(zone: str, minute: int) -> None:
    start_ms = resets.period_start_ms(Schedule(mode=Mode.HOURLY, zone=zone), None, at("2026-05-05 10:59"))
    assert shown(start_ms, "UTC") == f"2026-05-05 10:{minute:02}"


def test_hours_stay_whole_where_the_clock_shows_one_twice_or_skips_one() -> None:
    schedule = Schedule(mode=Mode.HOURLY, zone="Europe/Berlin")
    for day in ("2026-03-29 00:30", "2026-10-24 23:30"):
        moment_ms = at(day)
        found = list(boundaries(schedule, None, moment_ms, moment_ms + 4 * HOUR_MS))
        assert [later - earlier for earlier, later in pairwise(found)] == [HOUR_MS] * 3


def test_a_clock_that_moves_by_half_an_hour_makes_one_short_and_one_long_hour() -> None:
    zone = "Australia/Lord_Howe"
    schedule = Schedule(mode=Mode.HOURLY, zone=zone)
    assert readings(schedule, None, "2025-10-05 00:30", 3) == [
        *("2025-10-05 01:00", "2025-10-05 02:30", "2025-10-05 03:00")
    ]
    short_ms = at("2025-10-05 02:45", zone)
    assert shown(resets.period_start_ms(schedule, None, short_ms), zone) == "2025-10-05 02:30"
    moment_ms = at("2026-04-05 00:30", zone)
    long_ms = at("2026-04-05 01:59", zone, fold=1)
    assert resets.period_start_ms(schedule, None, long_ms) == long_ms - 89 * 60_000
    found = list(boundaries(schedule, None, moment_ms, moment_ms + 4 * HOUR_MS))
    assert [(later - earlier) / HOUR_MS for earlier, later in pairwise(found)] == [1.5, 1.0]


def test_a_clock_that_moves_within_an_hour_shortens_that_hour_alone() -> None:
    zone = "America/Caracas"  # on 1 May 2016 its clock went from 02:30 to 03:00
    schedule = Schedule(mode=Mode.HOURLY, zone=zone)
    times = ["01:00", "02:00", "03:00", "04:00"]
    assert readings(schedule, None, "2016-05-01 00:59", 4) == [f"2016-05-01 {time}" for time in times]
    for time in ("01:45", "02:15", "03:15"):
        start_ms = resets.period_start_ms(schedule, None, at(f"2016-05-01 {time}", zone))
        assert shown(start_ms, zone) == f"2016-05-01 {time[:2]}:00"


@given(turn_ms=st.sampled_from(TURNS["Australia/Lord_Howe"]), minutes=st.integers(-48 * 60, 6 * 60))
def test_hours_touch_around_a_move_by_half_an_hour(turn_ms: int, minutes: int) -> None:
    schedule = Schedule(mode=Mode.HOURLY, zone="Australia/Lord_Howe")
    moment_ms = turn_ms + minutes * 60_000
    start_ms, next_ms = (
        resets.period_start_ms(schedule, None, moment_ms),
        following(schedule, None, moment_ms),
    )
    assert start_ms <= moment_ms < next_ms
    assert resets.period_start_ms(schedule, None, next_ms - 1) == start_ms
    assert resets.period_start_ms(schedule, None, next_ms) == next_ms


def test_hours_from_an_activation_are_whole_hours_of_real_time() -> None:
    zone = "Australia/Lord_Howe"
    schedule = Schedule(mode=Mode.HOURLY, zone=zone, anchor=Anchor.ACTIVATION)
    activated_ms = at("2025-10-04 22:17", zone)
    late_ms = activated_ms + 100 * HOUR_MS + 5
    assert resets.period_start_ms(schedule, activated_ms, late_ms) == late_ms - 5
    assert following(schedule, activated_ms, late_ms) == late_ms - 5 + HOUR_MS


def test_what_never_resets_or_is_not_activated_is_one_period_without_an_end() -> None:
    never = Schedule(mode=Mode.NEVER, zone="Europe/Berlin")
    waiting = Schedule(mode=Mode.DAILY, zone="Europe/Berlin", anchor=Anchor.ACTIVATION)
    for schedule, activated_ms in ((never, 5), (never, None), (waiting, None)):
        assert resets.period_start_ms(schedule, activated_ms, at("2026-05-05 10:59")) == 0
        assert resets.next_reset_ms(schedule, activated_ms, at("2026-05-05 10:59")) is None


def test_a_duration_is_real_time_from_the_start() -> None:
    assert resets.expires_ms(1_000, 60) == 61_000
    assert resets.expires_ms(1_000, 0) == 1_000
    assert resets.expires_ms(None, 60) is None
    assert resets.expires_ms(1_000, None) is None


@pytest.mark.parametrize(
    ("schedule", "fields"),
    [
        (Schedule(mode=Mode.WEEKLY, day=7), set()),
        (Schedule(mode=Mode.WEEKLY, day=8), {"day"}),
        (Schedule(mode=Mode.WEEKLY, day=0), {"day"}),
        (Schedule(mode=Mode.MONTHLY, day=31), set()),
        (Schedule(mode=Mode.MONTHLY, day=32), {"day"}),
        (Schedule(mode=Mode.MONTHLY, day=1, month=1), {"month"}),
        (Schedule(mode=Mode.YEARLY, day=29, month=2), set()),
        (Schedule(mode=Mode.YEARLY, day=30, month=2), {"day"}),
        (Schedule(mode=Mode.YEARLY, day=31, month=4), {"day"}),
        (Schedule(mode=Mode.YEARLY, month=12), set()),
        (Schedule(mode=Mode.YEARLY, month=13), {"month"}),
        (Schedule(mode=Mode.YEARLY, month=0), {"month"}),
        (Schedule(mode=Mode.DAILY, day=1), {"day"}),
        (Schedule(mode=Mode.NEVER, day=1, month=1), {"day", "month"}),
        (Schedule(mode=Mode.YEARLY, anchor=Anchor.ACTIVATION, day=1, month=1), {"day", "month"}),
        (Schedule(mode=Mode.DAILY, zone="Mars/Olympus"), {"zone"}),
    ],
)
def test_every_wrong_field_of_a_schedule_is_named(schedule: Schedule, fields: set[str]) -> None:
    assert set(resets.wrong(schedule)) == fields


@pytest.mark.parametrize(
    "zone",
    [
        *("", "Mars/Olympus", "/etc/passwd", "../passwd", "Europe", "europe/berlin", "a\0b", "Z" * 9_000),
        *("right/Europe/Berlin", "localtime", "zone.tab"),
    ],
)
def test_a_zone_that_is_none_is_refused_in_one_sentence(zone: str) -> None:
    with pytest.raises(ValueError, match=r"knows no zone .* use an IANA name") as caught:
        resets.period_start_ms(Schedule(mode=Mode.DAILY, zone=zone), None, 0)
    assert len(str(caught.value)) < 250
    assert resets.wrong_zone(zone) == str(caught.value)


def test_a_host_without_the_zone_database_says_so_and_still_knows_utc() -> None:
    program = """
import sys
sys.modules["tzdata"] = None
from collector.domain import resets
from collector.domain.resets import Mode, Schedule
print(resets.wrong_zone("Europe/Berlin"))
print(resets.period_start_ms(Schedule(mode=Mode.DAILY), None, 86_400_005))
"""
    root = Path(__file__).parents[3]
    environment = os.environ | {"PYTHONTZPATH": ""}
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=root, env=environment, capture_output=True, text=True, check=True
    )
    problem, start_ms = ended.stdout.splitlines()
    assert problem.endswith("install the zone database (package tzdata)")
    assert start_ms == "86400000"
