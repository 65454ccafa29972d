"""Totals never fall and hold exactly what the core counted."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from agent.core import meter
from agent.core.counting import Count, Meter, Reading
from agent.core.standings import Standings
from shared.names import EndpointId, UserId

ALICE = Meter(UserId(1), EndpointId(1))
BOB = Meter(UserId(2), EndpointId(1))


def one(generation: str, up: int, down: int) -> Reading:
    return Reading(generation, {ALICE: Count(up, down)})


def advanced(*readings: Reading) -> Standings:
    standings = Standings()
    for reading in readings:
        standings = meter.advance(standings, reading, 7).standings
    return standings


def test_the_first_reading_counts_from_zero() -> None:
    assert advanced(one("a", 3, 5))[ALICE].total == Count(3, 5)


def test_the_same_reading_twice_counts_once() -> None:
    standings = advanced(one("a", 3, 5))
    assert not meter.advance(standings, one("a", 3, 5), 7).changed


def test_a_new_generation_counts_from_zero_again() -> None:
    assert advanced(one("a", 3, 5), one("b", 4, 6))[ALICE].total == Count(7, 11)


def test_a_counter_that_fell_begins_anew_and_never_subtracts() -> None:
    assert advanced(one("a", 100, 7), one("a", 20, 9), one("a", 25, 9))[ALICE].total == Count(125, 9)


def test_a_counter_that_fell_to_zero_begins_at_zero() -> None:
    assert advanced(one("a", 100, 0), one("a", 0, 0), one("a", 150, 0))[ALICE].total == Count(250, 0)


def test_a_meter_the_reading_does_not_name_stays_as_it_was() -> None:
    standings = advanced(one("a", 3, 5), Reading("b", {BOB: Count(1, 1)}))
    assert standings[ALICE].total == Count(3, 5)


def test_idle_users_of_a_new_core_are_not_written() -> None:
    standings = advanced(one("a", 3, 5))
    idle = Reading("b", {ALICE: Count(0, 0), BOB: Count(0, 0)})
    assert not meter.advance(standings, idle, 7).changed


def test_what_stands_does_not_change_by_what_follows() -> None:
    before = advanced(one("a", 3, 5))
    after = meter.advance(before, Reading("a", {ALICE: Count(4, 5), BOB: Count(1, 2)}), 8)
    assert dict(before.totals()) == {ALICE: Count(3, 5)}
    assert list(before) == [ALICE]
    assert dict(after.standings.totals()) == {ALICE: Count(4, 5), BOB: Count(1, 2)}


def test_only_what_grew_is_told_as_grown() -> None:
    standings = advanced(Reading("a", {ALICE: Count(3, 5), BOB: Count(1, 1)}))
    after = meter.advance(standings, Reading("a", {ALICE: Count(0, 0), BOB: Count(1, 2)}), 7)
    assert dict(after.totals) == {BOB: Count(1, 2)}
    assert [after.standings.meters[place] for place in after.changed] == [BOB, ALICE]


@dataclass
class Core:
    """Counts in generations; `seen` is what readings had shown of generations that are gone."""

    generation: int = 0
    counts: dict[Meter, Count] = field(default_factory=dict)
    counted: dict[Meter, Count] = field(default_factory=dict)

    def carry(self, which: Meter, up: int, down: int) -> None:
        for book in (self.counts, self.counted):
            before = book.get(which, Count(0, 0))
            book[which] = Count(before.up + up, before.down + down)

    def restart(self) -> None:
        self.generation += 1
        self.counts = {}

    def read(self) -> Reading:
        return Reading(str(self.generation), dict(self.counts))


volumes = st.integers(0, 10**12)
meters = st.builds(Meter, st.integers(1, 3).map(UserId), st.integers(1, 2).map(EndpointId))
steps = st.lists(
    st.one_of(st.tuples(meters, volumes, volumes), st.just("read"), st.just("read and restart")), max_size=40
)


@given(steps)
def test_totals_equal_what_was_counted_when_each_generation_was_read_last(
    story: list[tuple[Meter, int, int] | str],
) -> None:
    core, standings = Core(), Standings()
    for step in [*story, "read"]:
        if isinstance(step, tuple):
            core.carry(*step)
            continue
        standings = meter.advance(standings, core.read(), 7).standings
        if step == "read and restart":
            core.restart()
    totals = {which: standing.total for which, standing in standings.items()}
    assert totals == {which: count for which, count in core.counted.items() if count != (0, 0)}


@given(st.lists(st.tuples(st.sampled_from("abc"), volumes, volumes), max_size=30))
def test_no_story_of_readings_makes_a_total_fall(story: list[tuple[str, int, int]]) -> None:
    standings = Standings()
    before = Count(0, 0)
    for generation, up, down in story:
        standings = meter.advance(standings, one(generation, up, down), 7).standings
        after = standings[ALICE].total if ALICE in standings else Count(0, 0)
        assert after.up >= before.up
        assert after.down >= before.down
        before = after
