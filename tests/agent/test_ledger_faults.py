"""Killed agents, dead cores and full disks, with real SQLite: nothing is lost and nothing doubled."""

import json
import random
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from agent import ledger
from agent.core.counting import Count, Meter, Reading
from shared.names import EndpointId, UserId
from tests.agent.books import ALICE, AT_MS, BOB, opened, totals

ROOT = Path(__file__).parents[2]
CAROL = Meter(UserId(3), EndpointId(1))


class Books(RuleBasedStateMachine):
    """Traffic, readings, dead agents, dead cores and refused writes in any order.

    A dead agent is a connection that is dropped without closing; a refused write is SQLite's own.
    """

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "ledger.db"
        ledger.open_ledger(self.path).close()
        self.generation = 0
        self.counts: dict[Meter, Count] = {}
        self.counted: dict[Meter, Count] = {}
        self.unseen: dict[Meter, Count] = {}
        self._open()

    def _open(self) -> None:
        self.connection = sqlite3.connect(self.path, isolation_level=None)
        self.connection.execute("PRAGMA synchronous = FULL")
        self.book = ledger.Ledger(self.connection, self.path)

    @rule(user=st.integers(1, 3), up=st.integers(0, 10**9), down=st.integers(0, 10**9))
    def traffic(self, user: int, up: int, down: int) -> None:
        which = Meter(UserId(user), EndpointId(1))
        for book in (self.counts, self.unseen):
            before = book.get(which, Count(0, 0))
            book[which] = Count(before.up + up, before.down + down)

    @rule()
    def read(self) -> None:
        self.book.book(Reading(str(self.generation), dict(self.counts)), AT_MS)
        for which, count in self.unseen.items():
            before = self.counted.get(which, Count(0, 0))
            self.counted[which] = Count(before.up + count.up, before.down + count.down)
        self.unseen = {}

    @rule()
    def the_disk_refuses_a_reading(self) -> None:
        before = totals(self.book)
        self.connection.execute("PRAGMA query_only = ON")
        reading = Reading(str(self.generation), {**self.counts, BOB: Count(2**40, 2**40)})
        with pytest.raises(ledger.LedgerError, match="nothing was lost"):
            self.book.book(reading, AT_MS)
        self.connection.execute("PRAGMA query_only = OFF")
        assert totals(self.book) == before

    @rule()
    def the_agent_dies(self) -> None:
        self._open()

    @rule()
    def the_core_dies(self) -> None:
        self.generation += 1
        self.counts, self.unseen = {}, {}

    @invariant()
    def the_books_hold_exactly_what_readings_showed(self) -> None:
        assert totals(self.book) == {w: c for w, c in self.counted.items() if c != (0, 0)}

    def teardown(self) -> None:
        self.book.close()
        self.folder.cleanup()


Books.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
TestBooks = Books.TestCase


@contextmanager
def child(path: Path, *limit: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.agent.booking_child", str(path), *limit]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def tell(process: subprocess.Popen[str], what: object) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps(what) + "\n")
    process.stdin.flush()


def answer(process: subprocess.Popen[str]) -> tuple[object, list[list[int]]]:
    assert process.stdout is not None
    booked, rows = json.loads(process.stdout.readline())
    return booked, rows


def test_killing_the_agent_at_any_moment_loses_and_doubles_nothing(tmp_path: Path) -> None:
    chance = random.Random(20)
    counts = dict.fromkeys(range(1, 200), 0)
    acknowledged: list[list[int]] = []
    for _ in range(10):
        with child(tmp_path / "l") as process:
            for _ in range(chance.randrange(1, 4)):
                tell(process, ["g", [[user, count, count] for user, count in counts.items()]])
                _, acknowledged = answer(process)
                counts = {user: count + chance.randrange(1000) for user, count in counts.items()}
            # One more, killed in the middle of it: it may be booked or not, but never by half.
            tell(process, ["g", [[user, count, count] for user, count in counts.items()]])
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(timeout=chance.random() * 0.004)
        with opened(tmp_path / "l") as book:
            kept = {m.user: total.up for m, total in totals(book).items()}
        before = {user: up for user, up, _ in acknowledged}
        assert kept in (before, {user: count for user, count in counts.items() if count})
    with opened(tmp_path / "l") as book:
        book.book(
            Reading("g", {Meter(UserId(u), EndpointId(1)): Count(c, c) for u, c in counts.items()}), AT_MS
        )
        assert {m.user: total for m, total in totals(book).items()} == {u: (c, c) for u, c in counts.items()}


def test_a_full_disk_loses_nothing_once_there_is_room_again(tmp_path: Path) -> None:
    def reading(count: int) -> list[object]:
        return ["g", [[user, count, 0] for user in range(1, 2000)]]

    with opened(tmp_path / "l"):
        pass
    with child(tmp_path / "l", "20000") as process:
        tell(process, reading(5))
        refused, rows = answer(process)
        assert "free space" in str(refused)
        assert rows == []
        tell(process, reading(9))
        assert "free space" in str(answer(process)[0])
        tell(process, "free")
        tell(process, reading(11))
        booked, rows = answer(process)
        assert booked == 1999
        assert {up for _, up, _ in rows} == {11}


class Late(sqlite3.Connection):
    """Says once that a commit has failed, though it has not."""

    lies = False

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:  # noqa: ANN401 - as sqlite3 has it
        cursor = super().execute(sql, *values)
        if sql == "COMMIT" and self.lies:
            self.lies = False
            raise sqlite3.OperationalError("disk I/O error")
        return cursor


@pytest.mark.parametrize("known", [1, 80, 130, 160])
def test_a_commit_that_failed_and_reached_the_disk_is_written_over_by_the_next(
    tmp_path: Path, known: int
) -> None:
    crowd = {Meter(UserId(100 + number), EndpointId(1)): Count(1, 0) for number in range(known)}
    path = tmp_path / "l"
    with opened(path) as book:
        book.book(Reading("g", crowd, "a"), AT_MS)
    connection = sqlite3.connect(path, isolation_level=None, factory=Late)
    book = ledger.Ledger(connection, path)
    connection.lies = True
    with pytest.raises(ledger.LedgerError, match="nothing was lost"):
        book.book(Reading("g", {**crowd, ALICE: Count(1, 0), CAROL: Count(1, 0)}, "a"), AT_MS)
    more = {which: Count(5, 0) for which in list(crowd)[:1]}
    book.book(Reading("g", more, "a"), AT_MS)
    with opened(path) as other:
        assert totals(other) == crowd | more
    book.book(Reading("h", {BOB: Count(2, 0)}, "b"), AT_MS)
    book.book(Reading("g", {**more, ALICE: Count(3, 0)}, "a"), AT_MS)
    expected = {**crowd, **more, BOB: Count(2, 0), ALICE: Count(3, 0)}
    assert totals(book) == expected
    book.close()
    with opened(path) as book:
        assert totals(book) == expected
