"""Marks in a real ledger: kept with the totals, gone once confirmed, bounded however long that takes."""

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent import ledger
from agent.core import marks
from agent.core.counting import Count, Meter, Reading
from shared.messages import Past, Report, Usage
from shared.names import QUARTER_MS, EndpointId, UserId
from tests.agent.books import ALICE, AT_MS, BOB, opened

FIRST = marks.quarter(AT_MS)


def book(one: ledger.Ledger, quarters: float, *, alice: int = 0, bob: int = 0) -> None:
    """Book these counters so many quarters after the first moment."""
    counts = {ALICE: Count(alice, 0), BOB: Count(bob, 0)}
    one.book(Reading("g", counts), FIRST * QUARTER_MS + int(quarters * QUARTER_MS))


def kept(one: ledger.Ledger) -> list[tuple[Meter, int, int]]:
    """Meter, total and quarter of each mark, counted from the first."""
    return [(Meter(m.user, m.endpoint), m.up, m.quarter - FIRST) for m in one.marks(10_000)]


def report(one: ledger.Ledger) -> Report:
    """Everything there is to tell."""
    told = marks.compose(one.marks(10_000), one.standings, one.standings, one.confirmed, one.quarter)
    return Report(ledger=one.id, rows=told.rows, quarter=told.quarter, past=told.past)


def test_bytes_across_a_boundary_count_before_it(tmp_path: Path) -> None:
    with opened(tmp_path / "l") as one:
        book(one, 0.5)
        book(one, 0.99, alice=10)
        book(one, 1.01, alice=15)
        assert one.standings[ALICE].quarter == FIRST
        book(one, 1.02, alice=17)
        assert one.standings[ALICE].quarter == FIRST + 1
        assert kept(one) == [(ALICE, 15, 0)]


def test_a_total_that_was_confirmed_leaves_no_mark(tmp_path: Path) -> None:
    with opened(tmp_path / "l") as one:
        book(one, 0.5)
        book(one, 0.6, alice=10, bob=10)
        one.confirm(report(one))
        book(one, 0.7, alice=11, bob=10)
        book(one, 1.0, alice=11, bob=10)
        book(one, 1.1, alice=12, bob=12)
        assert kept(one) == [(ALICE, 11, 0)]


def test_marks_go_when_they_are_confirmed_and_those_that_came_meanwhile_stay(tmp_path: Path) -> None:
    with opened(tmp_path / "l") as one:
        for quarter in range(3):
            book(one, quarter, alice=10 * quarter)
        sent = report(one)
        book(one, 3, alice=30)
        assert kept(one) == [(ALICE, 10, 0), (ALICE, 20, 1)]
        one.confirm(sent)
        assert kept(one) == []
        assert not one.marked
        book(one, 4, alice=40)
        assert kept(one) == [(ALICE, 30, 2)]


def test_marks_and_the_quarter_survive_a_restart_and_nobody_knows_then_what_was_confirmed(
    tmp_path: Path,
) -> None:
    with opened(tmp_path / "l") as one:
        for quarter in range(3):
            book(one, quarter, alice=10 * quarter, bob=quarter > 0)
        one.confirm(Report(ledger=one.id, rows=[Usage(*BOB, 1, 0)], quarter=FIRST))
    with opened(tmp_path / "l") as one:
        assert one.marked
        assert one.quarter == FIRST + 2
        book(one, 7, alice=30, bob=5)
        # What passed while no agent read counts when the last reading was.
        assert one.standings[ALICE].quarter == FIRST + 2
        assert sorted(kept(one)) == [(ALICE, 10, 0), (ALICE, 20, 1), (BOB, 1, 0)]


def test_the_quarter_moves_on_while_nobody_moves_a_byte(tmp_path: Path) -> None:
    with opened(tmp_path / "l") as one:
        book(one, 0, alice=10)
        book(one, 5, alice=10)
    with opened(tmp_path / "l") as one:
        book(one, 6, alice=11)
        assert one.standings[ALICE].quarter == FIRST + 5


def test_a_reading_that_the_disk_refuses_leaves_neither_mark_nor_quarter(tmp_path: Path) -> None:
    with opened(tmp_path / "l") as one:
        book(one, 0, alice=10)
        book(one, 1, alice=10)
        with pytest.raises(ledger.LedgerError):
            book(one, 2, alice=20, bob=2**63)
        assert kept(one) == []
        assert one.quarter == FIRST + 1


def test_a_clock_that_is_set_back_never_makes_a_meter_fall(tmp_path: Path) -> None:
    with opened(tmp_path / "l") as one:
        for step, quarters in enumerate((4, 5, 6, 1, 2, 3, 7, 8)):
            book(one, quarters, alice=10 * step)
        told = [(up, quarter) for which, up, quarter in kept(one) if which == ALICE]
        assert told == sorted(told)
        last = one.standings[ALICE]
        assert told[-1] < (last.up, last.quarter - FIRST)
        assert last.up == 70


@contextmanager
def careless(path: Path) -> Iterator[ledger.Ledger]:
    """A ledger that does not wait for the disk: thousands of commits of a test that kills nobody."""
    ledger.open_ledger(path).close()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")
    one = ledger.Ledger(connection, path)
    try:
        yield one
    finally:
        one.close()


def test_an_outage_of_forty_days_is_bounded_exact_at_its_end_and_never_late(tmp_path: Path) -> None:
    days = 40 * 96
    used: Counter[int] = Counter()
    with careless(tmp_path / "l") as one:
        book(one, 0)
        for quarter in range(1, days + 1):
            used[quarter - 1] += quarter
            # He moves in every quarter, she in one of seven.
            book(one, quarter, alice=sum(used.values()), bob=quarter // 7)
        stored = Counter(which for which, _, _ in kept(one))
        assert stored[ALICE] <= marks.MOST_MARKS
        assert stored[BOB] <= marks.MOST_MARKS
        told = counted([past for past in report(one).past if past.user == ALICE.user])
        told[days - 1] += one.total(ALICE).up - sum(told.values())
    assert sum(told.values()) == sum(used.values())
    exact = days - marks.LADDER[0][0]
    assert {q: told[q] for q in range(exact, days)} == {q: used[q] for q in range(exact, days)}
    late = early = 0
    for quarter in range(days):
        early += told[quarter]
        late += used[quarter]
        assert early >= late, f"bytes used up to quarter {quarter} count after it"


def test_a_mark_that_others_were_merged_into_while_it_was_told_stays(tmp_path: Path) -> None:
    with careless(tmp_path / "l") as one:
        exact = marks.LADDER[0][0]
        for quarter in range(exact + 1):
            book(one, quarter, alice=10 * quarter)
        sent = Report(ledger=one.id, rows=[], past=one.marks(1))
        for quarter in range(exact + 1, exact + 5):
            book(one, quarter, alice=10 * quarter)
        before = kept(one)
        assert before[0][1] > sent.past[0].up
        one.confirm(sent)
        assert kept(one) == before


def counted(past: list[Past]) -> Counter[int]:
    """Bytes of one meter by quarter, as whoever merges by max counts them."""
    total, counts = 0, Counter[int]()
    for one in past:
        counts[one.quarter - FIRST] += max(0, one.up - total)
        total = max(total, one.up)
    return counts


def test_ten_thousand_marks_are_told_oldest_first(tmp_path: Path) -> None:
    crowd = [Meter(UserId(user), EndpointId(1)) for user in range(1, 2_001)]
    with careless(tmp_path / "l") as one:
        for quarter in range(4):
            counts = {which: Count(0, which.user * quarter) for which in crowd}
            one.book(Reading("g", counts), (FIRST + quarter) * QUARTER_MS)
        first = one.marks(3_000)
        assert [mark.quarter - FIRST for mark in first] == [0] * 2_000 + [1] * 1_000
