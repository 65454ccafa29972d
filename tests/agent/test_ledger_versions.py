"""Ledgers that older agents left are brought up to date: nothing in them is lost."""

import contextlib
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import inspection, ledger
from agent.core import marks
from agent.core.counting import Count, Meter, Reading
from shared.names import QUARTER_MS, EndpointId, UserId
from tests.agent.books import ALICE, AT_MS, BOB, opened, totals

ROOT = Path(__file__).parents[2]
FIRST = marks.quarter(AT_MS)
#: More than one block has room for.
CROWD = [Meter(UserId(number), EndpointId(1)) for number in range(1, 200)]


@contextlib.contextmanager
def altered(path: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        yield db


def aged_to_3(path: Path, generation: str) -> None:
    """As agents wrote it that kept a row for each meter, all of them read from one generation."""
    with opened(path) as book:
        rows = [(*which, *stands[:5], generation) for which, stands in book.standings.items()]
    with altered(path) as old:
        old.execute(
            "CREATE TABLE meters (user INTEGER, endpoint INTEGER, up INTEGER NOT NULL, down INTEGER NOT NULL,"
            " last_up INTEGER NOT NULL, last_down INTEGER NOT NULL, generation TEXT NOT NULL,"
            " quarter INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (user, endpoint)) WITHOUT ROWID"
        )
        old.executemany(
            "INSERT INTO meters (user, endpoint, up, down, quarter, last_up, last_down, generation)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            rows,
        )
        old.execute("DROP TABLE places")
        old.execute("DROP TABLE blocks")
        old.execute("PRAGMA user_version = 3")


def aged_to_2(path: Path, generation: str) -> None:
    """As agents wrote it that did not know when a byte was used."""
    aged_to_3(path, generation)
    with altered(path) as old:
        old.execute("DROP TABLE marks")
        old.execute("ALTER TABLE meters DROP COLUMN quarter")
        old.execute("DELETE FROM facts WHERE name IN ('quarter', 'core_quarter')")
        old.execute("PRAGMA user_version = 2")


def schema(path: Path) -> set[str]:
    with altered(path) as db:
        return {sql for (sql,) in db.execute("SELECT sql FROM sqlite_schema") if sql}


def test_a_ledger_with_a_row_for_each_meter_counts_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "l"
    with opened(path) as book:
        book.book(Reading("g", {which: Count(which.user, 2 * which.user) for which in CROWD}), AT_MS)
        first, stood = book.id, dict(book.standings)
    aged_to_3(path, "g")
    with opened(path) as book:
        assert (book.id, dict(book.standings)) == (first, stood)
        grown = book.book(
            Reading("g", {which: Count(which.user + 1, 2 * which.user) for which in CROWD}), AT_MS
        )
        assert dict(grown) == {which: Count(which.user + 1, 2 * which.user) for which in CROWD}
        book.book(Reading("h", {ALICE: Count(10, 0)}), AT_MS)
        after = totals(book)
        assert after[ALICE] == Count(12, 2)
    with opened(path) as book:
        assert totals(book) == after


def test_a_ledger_without_quarters_keeps_its_totals_and_learns_of_them(tmp_path: Path) -> None:
    path = tmp_path / "l"
    with opened(path) as book:
        book.book(Reading("g", {ALICE: Count(10, 0)}), AT_MS)
        first = book.id
    aged_to_2(path, "g")
    with opened(path) as book:
        assert (book.id, totals(book)) == (first, {ALICE: Count(10, 0)})
        assert book.standings[ALICE].quarter > marks.quarter(1_700_000_000_000)
        for quarters, count in ((50_000, 20), (50_001, 20), (50_002, 30)):
            book.book(Reading("g", {ALICE: Count(count, 0)}), (FIRST + quarters) * QUARTER_MS)
        assert [mark.up for mark in book.marks(10)] == [10, 20]


def test_a_migrated_ledger_is_as_a_new_one(tmp_path: Path) -> None:
    for name in ("fresh", "old"):
        with opened(tmp_path / name) as book:
            book.book(Reading("g", {ALICE: Count(1, 0), BOB: Count(0, 1)}), AT_MS)
    aged_to_2(tmp_path / "old", "g")
    with opened(tmp_path / "old"):
        pass
    assert schema(tmp_path / "old") == schema(tmp_path / "fresh")


def test_who_looks_into_an_older_ledger_is_told_to_restart_the_agent(tmp_path: Path) -> None:
    with opened(tmp_path / "l"):
        pass
    aged_to_3(tmp_path / "l", "g")
    with pytest.raises(ledger.LedgerError, match="restart the agent"):
        inspection.peek(tmp_path / "l")


@pytest.mark.parametrize(
    "spoiling",
    [
        "UPDATE blocks SET quarters = x'00'",
        "UPDATE blocks SET quarters = 5",
        "UPDATE blocks SET ups = 5",
        "DELETE FROM blocks",
    ],
)
def test_a_ledger_whose_blocks_are_not_whole_says_what_to_do(tmp_path: Path, spoiling: str) -> None:
    with opened(tmp_path / "l") as book:
        book.book(Reading("g", {ALICE: Count(1, 0), BOB: Count(0, 1)}), AT_MS)
    with altered(tmp_path / "l") as broken:
        broken.execute(spoiling)
    with pytest.raises(ledger.LedgerError, match="move it away"):
        ledger.open_ledger(tmp_path / "l")


def test_who_looks_into_a_damaged_ledger_is_told_what_to_do(tmp_path: Path) -> None:
    with opened(tmp_path / "l") as book:
        book.book(Reading("g", {ALICE: Count(1, 0)}), AT_MS)
    with altered(tmp_path / "l") as broken:
        broken.execute("UPDATE blocks SET ups = 5")
    with pytest.raises(ledger.LedgerError, match="move it away"):
        inspection.peek(tmp_path / "l")


def test_a_ledger_that_cannot_be_opened_to_look_is_not_called_damaged(tmp_path: Path) -> None:
    with pytest.raises(ledger.LedgerError, match="permissions"):
        inspection.peek(tmp_path / "missing")


def test_a_damaged_ledger_of_an_older_agent_is_not_made_a_sound_one_with_less(tmp_path: Path) -> None:
    path = tmp_path / "l"
    with opened(path) as book:
        book.book(Reading("g", {which: Count(which.user, 0) for which in CROWD}), AT_MS)
    aged_to_3(path, "g")
    content = bytearray(path.read_bytes())
    # A leaf of a table without row ids begins with 10; its third and fourth byte say how many rows it has.
    (leaf,) = [at for at in range(0, len(content), 4096) if content[at] == 10 and content[at + 4] > 50]
    content[leaf + 4] -= 10
    path.write_bytes(content)
    with pytest.raises(ledger.LedgerError, match="move it away"):
        ledger.open_ledger(path)
    assert path.read_bytes()[:4096] == content[:4096]
    with altered(path) as old:
        assert old.execute("PRAGMA user_version").fetchone() == (3,)


def test_a_disk_that_is_full_amid_a_migration_is_said_and_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "l"
    with opened(path) as book:
        book.book(Reading("g", {which: Count(which.user, 0) for which in CROWD}), AT_MS)
        before = totals(book)
    aged_to_3(path, "g")
    code = (
        "import pathlib, resource, sys; from agent import ledger;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192));"
        "ledger.open_ledger(pathlib.Path(sys.argv[1]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert "free space on its disk" in done.stderr
    with opened(path) as book:
        assert totals(book) == before
