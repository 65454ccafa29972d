"""When bytes count, and how marks that nobody confirms get coarser."""

from hypothesis import given
from hypothesis import strategies as st

from agent.core import marks, meter, standings
from agent.core.counting import Count, Meter, Reading
from agent.core.standings import Standing, Standings
from shared.messages import Past, Report, Usage
from shared.names import QUARTER_MS, EndpointId, LedgerId, UserId

ALICE, BOB = Meter(UserId(1), EndpointId(1)), Meter(UserId(2), EndpointId(1))


def standing(up: int, quarter: int) -> Standing:
    return Standing(up, 0, quarter, up, 0, standings.tag("g"))


def those(stand: dict[Meter, Standing]) -> Standings:
    written = Standings()
    for which, one in stand.items():
        written.put(which, one)
    return written


def past(which: Meter, up: int, quarter: int) -> Past:
    return Past(which.user, which.endpoint, up, 0, quarter)


def advanced(before: Standing, up: int, quarter: int, *confirmed: Meter) -> Standing:
    reading = Reading("g", {ALICE: Count(up, 0)})
    return meter.advance(those({ALICE: before}), reading, quarter, confirmed).standings[ALICE]


@given(st.integers(0, 2**45), st.floats(0.02, 60.0))
def test_no_pause_goes_beyond_the_next_boundary(at_ms: int, longest_s: float) -> None:
    pause_s = marks.pause_s(at_ms, longest_s)
    assert 0 < pause_s <= longest_s
    assert marks.quarter(at_ms + int(1000 * pause_s) - 1) == marks.quarter(at_ms)
    if pause_s < longest_s:
        assert marks.quarter(at_ms + round(1000 * pause_s)) == marks.quarter(at_ms) + 1


def test_a_boundary_of_any_zone_is_one_of_a_quarter() -> None:
    assert {QUARTER_MS * n % (60_000 * 60) // 60_000 for n in range(4)} == {0, 15, 30, 45}


def test_a_mark_is_left_where_an_unconfirmed_total_moves_on() -> None:
    before = those({ALICE: standing(5, 7), BOB: standing(3, 7)})
    after = those({ALICE: standing(9, 8), BOB: standing(4, 8)})
    assert marks.left_behind(before, after, [0, 1], {BOB}) == [past(ALICE, 5, 7)]


def test_no_mark_is_left_within_a_quarter_nor_of_a_new_meter() -> None:
    after = those({ALICE: standing(9, 7)})
    assert marks.left_behind(those({ALICE: standing(5, 7)}), after, [0], ()) == []
    assert marks.left_behind(Standings(), after, [0], ()) == []


def test_a_clock_that_is_set_back_takes_only_confirmed_totals_with_it() -> None:
    assert advanced(standing(5, 7), 6, 8).quarter == 8
    assert advanced(standing(5, 7), 6, 4).quarter == 7
    assert advanced(standing(5, 7), 6, 4, ALICE).quarter == 4


def test_a_counter_that_began_anew_without_a_byte_stays_in_its_quarter() -> None:
    assert advanced(standing(5, 7), 0, 9).quarter == 7


def test_a_report_has_the_newest_quarter_as_rows_and_all_older_totals_before() -> None:
    stand = {ALICE: standing(9, 8), BOB: standing(4, 6)}
    kept = [past(ALICE, 2, 3), past(ALICE, 5, 7)]
    told = marks.compose(kept, [ALICE, BOB], stand, (), 99)
    assert told.quarter == 8
    assert told.rows == [Usage(UserId(1), EndpointId(1), 9, 0)]
    assert told.past == [past(ALICE, 2, 3), past(BOB, 4, 6), past(ALICE, 5, 7)]


def test_a_report_without_totals_is_of_the_present_quarter() -> None:
    assert marks.compose([], [], {}, (), 99).quarter == 99


def test_a_total_that_was_confirmed_is_told_again_as_one_of_now() -> None:
    stand = {ALICE: standing(9, 8), BOB: standing(4, 6)}
    told = marks.compose([], [ALICE, BOB], stand, {BOB}, 99)
    assert (told.quarter, told.past, len(told.rows)) == (8, [], 2)
    told = marks.compose([], [ALICE, BOB], stand, {ALICE, BOB}, 99)
    assert (told.quarter, told.past, len(told.rows)) == (99, [], 2)


def test_only_totals_that_still_stand_are_confirmed() -> None:
    stand = {ALICE: standing(9, 8), BOB: standing(4, 6)}
    rows = [Usage(UserId(1), EndpointId(1), 8, 0), Usage(UserId(3), EndpointId(1), 1, 0)]
    report = Report(ledger=LedgerId("l"), rows=rows, past=[past(BOB, 4, 6), past(ALICE, 1, 1)])
    assert list(marks.present(stand, report)) == [BOB]


def merged(quarters: set[int], step: marks.Merge) -> set[int]:
    """The quarters that are left of these."""
    inside = {one for one in quarters if step.first <= one < step.until}
    firsts: dict[int, int] = {}
    for one in sorted(inside):
        firsts.setdefault(one // step.grain, one)
    return (quarters - inside) | set(firsts.values())


@given(st.integers(0, 10_000), st.lists(st.integers(1, 40) | st.integers(1, 2_000), max_size=300))
def test_marks_of_two_days_are_exact_and_older_ones_bounded(start: int, steps: list[int]) -> None:
    # A mark at each quarter from the first on, whatever quarters a reading falls into.
    kept, now = set[int](), start
    for step in steps:
        kept |= set(range(max(now, now + step - 5_000), now + step))
        for each in marks.merges(now, now + step):
            kept = merged(kept, each)
        now += step
        assert len(kept) <= marks.MOST_MARKS
        exact = range(max(start, now - marks.LADDER[0][0]), now)
        assert kept >= set(exact)


def test_a_clock_that_is_set_back_merges_nothing() -> None:
    assert marks.merges(50_000, 49_000) == []
    assert marks.merges(50_000, 50_000) == []
