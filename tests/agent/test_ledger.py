"""The ledger against real SQLite: nothing lost, nothing doubled, whatever is killed or full."""

import sqlite3
import stat
from pathlib import Path

import pytest

from agent import inspection, ledger
from agent.core import plan
from agent.core.counting import Count, Meter, Reading
from shared.messages import Lease
from shared.names import EndpointId, UserId
from tests.agent.books import ALICE, AT_MS, BOB, HELD, opened, totals


def test_a_new_ledger_has_an_id_of_its_own_and_is_for_its_owner_only(tmp_path: Path) -> None:
    with opened(tmp_path / "a") as one, opened(tmp_path / "b") as other:
        one.book(Reading("g", {ALICE: Count(1, 1)}), AT_MS)
        assert one.id != other.id
        assert {stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir()} == {0o600}


def test_everything_survives_closing(tmp_path: Path) -> None:
    with opened(tmp_path / "l") as book:
        book.book(Reading("g", {ALICE: Count(3, 5)}), AT_MS)
        book.hold(HELD)
        first = book.id
    with opened(tmp_path / "l") as book:
        assert book.id == first
        assert totals(book) == {ALICE: Count(3, 5)}
        assert book.held == HELD
        assert book.generation() == "g"
        assert dict(book.book(Reading("g", {ALICE: Count(4, 5)}), AT_MS)) == {ALICE: Count(4, 5)}


def test_booking_returns_the_totals_that_changed_and_no_others(tmp_path: Path) -> None:
    with opened(tmp_path / "l") as book:
        book.book(Reading("g", {ALICE: Count(3, 5), BOB: Count(1, 1)}), AT_MS)
        assert dict(book.book(Reading("g", {ALICE: Count(3, 6), BOB: Count(1, 1)}), AT_MS)) == {
            ALICE: Count(3, 6)
        }


def test_a_reading_of_a_core_that_was_replaced_is_not_booked(tmp_path: Path) -> None:
    with opened(tmp_path / "l") as book:
        book.book(Reading("old", {ALICE: Count(10, 0)}), AT_MS)
        book.book(Reading("new", {ALICE: Count(1, 0)}), AT_MS)
        with pytest.raises(ledger.LedgerError, match="replaced"):
            book.book(Reading("old", {ALICE: Count(10, 0)}), AT_MS)
        assert totals(book) == {ALICE: Count(11, 0)}


def test_a_core_that_was_replaced_is_known_even_to_the_next_agent(tmp_path: Path) -> None:
    with opened(tmp_path / "l") as book:
        book.book(Reading("old", {}), AT_MS)
    with opened(tmp_path / "l") as book:
        book.book(Reading("new", {ALICE: Count(1, 0)}), AT_MS)
        with pytest.raises(ledger.LedgerError, match="replaced"):
            book.book(Reading("old", {ALICE: Count(10, 0)}), AT_MS)


def test_a_reading_that_broke_off_midway_does_not_spoil_the_next(tmp_path: Path) -> None:
    with opened(tmp_path / "l") as book:
        with pytest.raises(ledger.LedgerError):
            book.book(Reading("g", {ALICE: Count(3, 5), BOB: Count(2**63, 0)}), AT_MS)
        assert totals(book) == {}
        assert dict(book.book(Reading("g", {ALICE: Count(3, 5)}), AT_MS)) == {ALICE: Count(3, 5)}
    with opened(tmp_path / "l") as book:
        assert totals(book) == {ALICE: Count(3, 5)}


def test_only_what_changed_of_a_holding_is_written_and_what_left_is_gone(tmp_path: Path) -> None:
    with opened(tmp_path / "l") as book:
        book.hold(HELD)
        kept = {"endpoint/1": HELD.items["endpoint/1"]}
        book.hold(plan.Holding(generation=8, items=kept, revoked=True))
    with opened(tmp_path / "l") as book:
        assert book.held == plan.Holding(generation=8, items=kept, revoked=True)


def test_incidents_are_kept_until_seen_and_numbers_never_come_back(tmp_path: Path) -> None:
    with opened(tmp_path / "l") as book:
        first = book.incident("core_exited", "ended by signal 9", at_ms=1000)
        second = book.incident("core_exited", "ended by signal 9", at_ms=1000)
        assert second.number > first.number
        book.forget_incidents(first.number)
        assert book.incidents() == [second]
        book.forget_incidents(second.number)
        assert book.incident("core_hanging", "silent", at_ms=500).number > second.number


def test_incidents_of_a_new_ledger_are_above_those_of_a_lost_one(tmp_path: Path) -> None:
    with opened(tmp_path / "lost") as lost, opened(tmp_path / "new") as new:
        seen = lost.incident("core_exited", "x", at_ms=1_000_000).number
        assert new.incident("core_exited", "y", at_ms=1_000_500).number > seen


def test_unseen_incidents_are_bounded(tmp_path: Path) -> None:
    with opened(tmp_path / "l") as book:
        for n in range(ledger.MAX_INCIDENTS + 3):
            last = book.incident("core_exited", "x", at_ms=n)
        kept = book.incidents(limit=10_000)
        assert len(kept) == ledger.MAX_INCIDENTS
        assert kept[-1] == last


def test_a_damaged_ledger_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "l"
    path.write_bytes(b"not a database at all, but long enough to be read as one" * 50)
    with pytest.raises(ledger.LedgerError, match="move it away"):
        ledger.open_ledger(path)


def test_a_ledger_damaged_in_the_middle_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "l"
    with opened(path) as book:
        book.book(Reading("g", {Meter(UserId(n), EndpointId(1)): Count(n, n) for n in range(1, 3000)}), AT_MS)
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2)
        file.write(b"\xff" * 8192)
    with pytest.raises(ledger.LedgerError, match="move it away"):
        ledger.open_ledger(path)


def test_a_ledger_of_a_newer_agent_is_not_touched(tmp_path: Path) -> None:
    with opened(tmp_path / "l"):
        pass
    newer = sqlite3.connect(tmp_path / "l")
    newer.execute("PRAGMA user_version = 99")
    newer.close()
    with pytest.raises(ledger.LedgerError, match="newer agent"):
        ledger.open_ledger(tmp_path / "l")


def test_a_ledger_that_cannot_be_opened_says_so(tmp_path: Path) -> None:
    with pytest.raises(ledger.LedgerError, match="cannot be opened"):
        ledger.open_ledger(tmp_path / "missing" / "l")


def test_an_operator_can_peek_while_the_agent_goes_on(tmp_path: Path) -> None:
    with opened(tmp_path / "l") as book:
        book.book(Reading("g", {ALICE: Count(3, 5)}), AT_MS)
        book.hold(HELD)
        shown = inspection.peek(tmp_path / "l")
        assert shown["ledger"] == book.id
        assert (shown["meters"], shown["up_bytes"], shown["down_bytes"], shown["generation"]) == (1, 3, 5, 7)


def test_leases_and_their_serial_are_kept_together_or_not_at_all(tmp_path: Path) -> None:
    lent = Lease(UserId(1), 1, 0, 100)
    with opened(tmp_path / "l") as book:
        book.lend([lent], (), 5)
        with pytest.raises(ledger.LedgerError):
            book.lend([Lease(UserId(2), 1, 0, 2**63)], (), 6)
        assert book.serial == 5
        book.lend([lent], (), 4)
        book.lend([], [lent.user], 9)
    with opened(tmp_path / "l") as book:
        assert (book.serial, dict(book.leases)) == (5, {})
