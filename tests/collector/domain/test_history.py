"""Hours, grouped: nothing falls between two groups, whatever the zone and its clock."""

import datetime
import zoneinfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.domain import history
from collector.domain.history import HOUR_MS, Amount, Order, Question, Span, Step

ZONES = ("UTC", "Asia/Tehran", "Asia/Kathmandu", "Europe/Berlin", "Australia/Lord_Howe", "Pacific/Apia")
NOW_MS = 1_800_000_000_000
DAY_MS = 24 * HOUR_MS
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)

_BYTES = st.integers(0, 2**63 - 1)
_AMOUNTS = st.builds(Amount, _BYTES, _BYTES, _BYTES, _BYTES)


@st.composite
def _hours(draw: st.DrawFn) -> tuple[Span, dict[int, Amount]]:
    first = draw(st.integers(0, 600_000))
    span = Span(first, first + draw(st.integers(1, 2_000)))
    places = st.integers(span.first, span.past - 1)
    return span, draw(st.dictionaries(places, _AMOUNTS, max_size=20))


@settings(deadline=None)
@given(_hours(), st.sampled_from(Step), st.sampled_from(ZONES))
def test_the_sum_of_the_groups_is_the_sum_of_the_hours(
    drawn: tuple[Span, dict[int, Amount]], step: Step, zone: str
) -> None:
    span, hours = drawn
    shown = history.history(hours, span, step, zone)
    wanted = [sum(amount[way] for amount in hours.values()) for way in range(4)]
    assert [shown.up, shown.down, shown.billed_up, shown.billed_down] == wanted
    for way, name in enumerate(Amount._fields):
        assert sum(getattr(point, name) for point in shown.points) == wanted[way]


@settings(deadline=None)
@given(st.integers(0, 600_000), st.integers(1, 900), st.data(), st.sampled_from(Step), st.sampled_from(ZONES))
def test_every_hour_is_in_the_group_in_which_it_begins(
    first: int, length: int, data: st.DataObject, step: Step, zone: str
) -> None:
    span = Span(first, first + length)
    hour = data.draw(st.integers(span.first, span.past - 1))
    points = history.history({hour: Amount(1)}, span, step, zone).points
    starts = [point.start_ms for point in points]
    assert starts == sorted(set(starts))
    assert starts[0] <= span.first * HOUR_MS
    assert starts[-1] < span.past * HOUR_MS
    holder = [point.start_ms for point in points if point.up]
    assert holder == [max(start for start in starts if start <= hour * HOUR_MS)]


@settings(deadline=None)
@given(_hours(), st.integers(0, 2_000), st.sampled_from(ZONES))
def test_spans_that_touch_add_up_to_the_one_over_both(
    drawn: tuple[Span, dict[int, Amount]], length: int, zone: str
) -> None:
    span, hours = drawn
    middle_ms = min(span.past, span.first + length) * HOUR_MS - 1_234
    parts = [
        history.span(span.first * HOUR_MS, middle_ms),
        history.span(middle_ms, span.past * HOUR_MS),
    ]
    shown = [
        history.history({hour: hours[hour] for hour in hours if hour in range(*part)}, part, Step.DAY, zone)
        for part in parts
        if part.first < part.past
    ]
    assert sum(one.up for one in shown) == sum(amount.up for amount in hours.values())


@pytest.mark.parametrize(
    ("day", "hours"),
    [("2026-03-29", 23), ("2026-10-25", 25), ("2026-06-01", 24)],
)
def test_a_day_on_which_the_clock_turns_has_the_hours_that_it_has(day: str, hours: int) -> None:
    berlin = zoneinfo.ZoneInfo("Europe/Berlin")
    midnight = datetime.datetime.fromisoformat(day).replace(tzinfo=berlin)
    start_ms = (midnight - EPOCH) // datetime.timedelta(milliseconds=1)
    span = history.span(start_ms - DAY_MS, start_ms + 3 * DAY_MS)
    every = dict.fromkeys(range(*span), Amount(1, 2, 3, 4))
    found = {
        point.start_ms: point for point in history.history(every, span, Step.DAY, "Europe/Berlin").points
    }
    assert found[start_ms].up == hours
    assert found[start_ms].billed_down == 4 * hours


def test_months_are_those_of_the_zone() -> None:
    span = Span(470_000, 470_000 + 24 * 200)  # from the middle of August 2023
    hours = dict.fromkeys(range(*span), Amount(1))
    points = history.history(hours, span, Step.MONTH, "Asia/Tehran").points
    assert len(points) == 8
    days = [30, 31, 30, 31, 31, 29]
    assert [point.up for point in points[1:-1]] == [24 * day for day in days]


@given(st.integers(0, 3_000_000))
def test_an_hour_lies_in_its_month_and_months_touch(hour: int) -> None:
    month = history.month_of(hour)
    assert hour in range(*history.hours_of_month(month))
    assert history.hours_of_month(month).past == history.hours_of_month(month + 1).first
    shown = (EPOCH + datetime.timedelta(hours=hour)).strftime("%Y-%m")
    assert history.month_name(month) == shown


def test_who_asks_for_nothing_gets_the_usual_time_up_to_and_with_the_open_hour() -> None:
    for step, days in ((Step.HOUR, 1), (Step.DAY, 31), (Step.MONTH, 366)):
        span = history.asked(_question(step=step), NOW_MS)
        assert span.past - 1 == NOW_MS // HOUR_MS
        assert span.past - span.first == 24 * days
    assert history.asked(_question(to_ms=DAY_MS), NOW_MS) == Span(0, 24)


@pytest.mark.parametrize(
    ("question", "field"),
    [
        ({"from_ms": NOW_MS + 1}, "from_ms"),
        ({"from_ms": 5, "to_ms": 5}, "from_ms"),
        ({"from_ms": NOW_MS - 33 * DAY_MS, "step": Step.HOUR}, "from_ms"),
        ({"from_ms": NOW_MS - 401 * DAY_MS, "step": Step.DAY}, "from_ms"),
        ({"from_ms": 1, "step": Step.MONTH}, "from_ms"),
        ({"zone": "Mars/Olympus"}, "zone"),
    ],
)
def test_what_cannot_be_answered_is_named_by_its_field(question: dict[str, object], field: str) -> None:
    assert list(history.wrong(_question(**question), NOW_MS)) == [field]
    assert history.wrong(_question(), NOW_MS) == {}


def test_a_ranking_spans_a_month_at_most() -> None:
    question = _question(from_ms=NOW_MS - 33 * DAY_MS)
    assert history.wrong(question, NOW_MS) == {}
    assert "32 days" in history.wrong(question, NOW_MS, ranked=True)["from_ms"]


def test_the_largest_come_first_and_who_moved_nothing_does_not_come() -> None:
    every = {1: Amount(5, 5, 1, 1), 2: Amount(9, 9, 0, 0), 3: Amount(), 4: Amount(5, 5, 9, 9)}
    ranked = history.largest(every.items(), Order.RAW, 2)
    assert [number for number, _ in ranked] == [2, 1]
    assert [number for number, _ in history.largest(every.items(), Order.BILLED, 9)] == [4, 1, 2]


def test_so_many_closed_months_are_kept_and_none_are_forgotten_at_nought() -> None:
    now = history.month_of(NOW_MS // HOUR_MS)
    assert history.oldest_kept(NOW_MS, 12) == now - 12
    assert history.oldest_kept(NOW_MS, 0) is None


def _question(**fields: object) -> Question:
    asked: dict[str, object] = {"from_ms": 0, "to_ms": 0, "step": Step.DAY, "zone": "UTC", **fields}
    return Question(**asked)  # type: ignore[arg-type]  # the fields of the test
