"""History that is over: moved into a file a month, whatever ends the move, and read where it lies."""

import contextlib
import logging
import shutil
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from collector.domain import history as rules
from collector.domain.history import Amount, Span
from collector.store import archive, history, months
from collector.store.archive import UnusableError
from shared.names import UserId
from tests.collector.store import moving_child, past
from tests.collector.store.past import EVERYTHING, MONTH, NOW_HOUR, NOW_MS, Past, row

JANUARY = rules.hours_of_month(MONTH)
FEBRUARY = rules.hours_of_month(MONTH + 1)


def _file(directory: Path, month: int = MONTH) -> Path:
    return months.path(directory, month)


def test_months_that_are_over_leave_the_database_and_the_present_one_stays(tmp_path: Path) -> None:
    with past.opened(tmp_path) as one:
        one.add(*past.rows(1, 200))
        here = sum(hour >= FEBRUARY.past for hour, *_ in one.truth)
        one.move()
        assert one.count() == here
        assert sorted(file.name for file in tmp_path.glob("history-*")) == [
            "history-2026-01.db",
            "history-2026-02.db",
        ]
        before = {file: file.read_bytes() for file in tmp_path.glob("history-*")}
        one.move()
        assert {file: file.read_bytes() for file in tmp_path.glob("history-*")} == before
        one.check()


def test_bytes_that_come_while_their_hour_is_being_moved_are_not_lost(tmp_path: Path) -> None:
    with past.opened(tmp_path) as one:
        one.add(*(row(JANUARY.first + place) for place in range(10)))
        copied = one.db.read_now(archive.copied, MONTH + 2, 100, frozenset())
        assert copied is not None
        one.add(row(JANUARY.first + 3))
        assert not one.db.write_now(archive.moved, copied)
        one.check()
        again = one.db.read_now(archive.copied, MONTH + 2, 100, frozenset())
        assert again is not None
        one.add(row(JANUARY.first + 20))
        assert one.db.write_now(archive.moved, again)
        assert not one.db.write_now(archive.moved, again)
        one.check()
        one.move()
        assert one.count() == 0
        one.check()


def _back_up(directory: Path) -> Path:
    """A backup of user.db alone, as it is at this moment."""
    kept = directory / "user.db.kept"
    with (
        contextlib.closing(sqlite3.connect(directory / "user.db")) as source,
        contextlib.closing(sqlite3.connect(kept)) as target,
    ):
        source.backup(target)
    return kept


def _restore(directory: Path) -> None:
    for name in ("user.db-wal", "user.db-shm"):
        (directory / name).unlink(missing_ok=True)
    (directory / "user.db.kept").replace(directory / "user.db")


def test_a_database_of_yesterday_counts_nothing_twice(tmp_path: Path) -> None:
    with past.opened(tmp_path) as one:
        one.add(*past.rows(1, 100, past=MONTH + 1))
        one.move()
        one.add(*past.rows(2, 100, past=MONTH + 2))
        known = dict(one.truth)
        _back_up(tmp_path)
        one.add(*past.rows(4, 30, past=MONTH + 2))
        one.move()
        one.check()
    # What the restored one does not know is reported again by the nodes, now; so it must count once only.
    _restore(tmp_path)
    with past.opened(tmp_path, known) as one:
        one.check()
        one.move()
        one.check()
        one.add(*past.rows(5, 30, past=MONTH + 2))
        one.move()
        one.check()
        assert one.count() == 0


def test_a_backup_that_has_never_seen_a_month_moves_it_anew(tmp_path: Path) -> None:
    with past.opened(tmp_path) as one:
        one.add(*past.rows(1, 100, past=MONTH + 1))
        known = dict(one.truth)
        _back_up(tmp_path)
        one.add(*past.rows(2, 50, past=MONTH + 1))
        one.move()
    _restore(tmp_path)
    with past.opened(tmp_path, known) as one:
        one.check()
        one.move()
        one.check()
        assert one.count() == 0


def test_a_database_of_today_that_follows_one_of_yesterday_is_refused_and_not_miscounted(
    tmp_path: Path,
) -> None:
    with past.opened(tmp_path) as one:
        one.add(row(JANUARY.first))
        one.move()
        yesterday = _back_up(tmp_path).rename(tmp_path / "yesterday")
        one.add(row(JANUARY.first + 1))
        one.move()
        today = _back_up(tmp_path).rename(tmp_path / "today")
    yesterday.rename(tmp_path / "user.db.kept")
    _restore(tmp_path)
    with past.opened(tmp_path, {(JANUARY.first, 1, 1): Amount(1, 2, 3, 4)}) as one:
        one.add(row(JANUARY.first + 2))
        one.move()
        one.check()
    today.rename(tmp_path / "user.db.kept")
    _restore(tmp_path)
    with past.opened(tmp_path) as one, pytest.raises(UnusableError, match="does not belong"):
        one.db.read_now(history.of_all, EVERYTHING)


def test_a_file_older_than_its_database_is_refused_and_takes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with past.opened(tmp_path) as one:
        one.add(row(JANUARY.first), row(FEBRUARY.first))
        one.move()
        shutil.copy(_file(tmp_path), tmp_path / "old")
        one.add(row(JANUARY.first + 1))
        one.move()
        (tmp_path / "old").replace(_file(tmp_path))
        with pytest.raises(UnusableError, match=r"history-2026-01\.db .* does not belong"):
            one.db.read_now(history.of_all, EVERYTHING)
        _stands_alone(one, caplog)


def _stands_alone(one: Past, caplog: pytest.LogCaptureFixture) -> None:
    """January cannot be used: everything else works, and late bytes of it wait in the database."""
    one.check(Span(FEBRUARY.first, NOW_HOUR))
    one.add(row(JANUARY.first + 7), row(FEBRUARY.first + 7))
    with caplog.at_level(logging.ERROR):
        one.move()
    stuck = [record for record in caplog.records if record.getMessage() == "history_stuck"]
    assert [vars(record)["fields"]["month"] for record in stuck] == ["2026-01"]
    assert one.count() == 1
    one.check(FEBRUARY)


def test_a_missing_file_is_said_for_its_month_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with past.opened(tmp_path) as one:
        one.add(row(JANUARY.first), row(FEBRUARY.first))
        one.move()
        _file(tmp_path).unlink()
        with pytest.raises(UnusableError, match=r"history-2026-01\.db .*missing.*restore"):
            one.db.read_now(history.of_user, UserId(1), EVERYTHING)
        _stands_alone(one, caplog)
        assert not _file(tmp_path).exists()


@pytest.mark.parametrize("kept", [0, 100, 5_000])
def test_a_damaged_file_is_said_for_its_month_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kept: int
) -> None:
    with past.opened(tmp_path) as one:
        one.add(row(JANUARY.first), row(FEBRUARY.first))
        one.move()
        content = _file(tmp_path).read_bytes()
        _file(tmp_path).write_bytes(content[:kept] + b"\xff" * (len(content) - kept if kept else 0))
        with pytest.raises(UnusableError, match=r"history-2026-01\.db cannot be used"):
            one.db.read_now(history.of_all, EVERYTHING)
        _stands_alone(one, caplog)


def test_a_file_that_cannot_be_written_is_still_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with past.opened(tmp_path) as one:
        one.add(row(JANUARY.first), row(FEBRUARY.first))
        one.move()
        connect = sqlite3.connect

        def read_only(name: str, **how: object) -> sqlite3.Connection:
            name = name.replace("mode=rw", "mode=ro") if "2026-01" in name else name
            return connect(name, **how)  # type: ignore[call-overload, no-any-return]  # passed on

        # Root may write to anything, so the file is opened as somebody else would have it.
        monkeypatch.setattr(sqlite3, "connect", read_only)
        _stands_alone(one, caplog)
        one.check()
        monkeypatch.undo()
        one.move()
        assert one.count() == 0
        one.check()


def test_months_older_than_the_retention_go_with_their_files_and_late_rows(tmp_path: Path) -> None:
    with past.opened(tmp_path) as one:
        one.add(*past.rows(1, 100))
        one.move()
        one.add(row(JANUARY.first + 1), row(FEBRUARY.first + 1))
        one.move(months=1)
        for key in [key for key in one.truth if key[0] < JANUARY.past]:
            del one.truth[key]
        one.check()
        assert [file.name for file in sorted(tmp_path.glob("history-*"))] == ["history-2026-02.db"]
        one.move(months=1)
        one.check()


def test_a_batch_is_on_the_disk_with_the_end_of_its_journal_before_the_database_forgets_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    connect = sqlite3.connect

    def traced(name: str, **how: object) -> sqlite3.Connection:
        made: sqlite3.Connection = connect(name, **how)  # type: ignore[call-overload]  # passed on
        made.set_trace_callback(told.append)
        return made

    with past.opened(tmp_path) as one:
        one.add(row(JANUARY.first))
        monkeypatch.setattr(sqlite3, "connect", traced)
        batch = one.db.read_now(archive.copied, MONTH + 2, 100, frozenset())
        assert batch is not None
        assert one.count() == 1
    assert "PRAGMA synchronous = EXTRA" in told
    assert told[-1] == "COMMIT"
    assert not list(tmp_path.glob("history-*-*-*"))


def test_a_kill_before_any_statement_of_a_move_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    template, copies = tmp_path / "template", tmp_path / "copies"
    template.mkdir()
    copies.mkdir()
    with past.opened(template) as one:
        # One batch is in January's file already; the next ones follow it, or begin February's.
        one.add(*past.rows(1, 3, past=MONTH + 1))
        one.move()
        one.add(*past.rows(2, 5, past=MONTH + 1), row(FEBRUARY.first))
        known = dict(one.truth)
        _back_up(template)
    _restore(template)
    program = [sys.executable, "-m", moving_child.__name__, str(template), str(copies), str(NOW_MS)]
    subprocess.run(program, check=True, cwd=Path(__file__).parents[3], timeout=100)
    left = sorted(copies.iterdir())
    rows_left: set[int] = set()
    for directory in left:
        with past.opened(directory, known) as one:
            rows_left.add(one.count())
            one.check()
            one.move()
            one.check()
            assert one.count() == 0
    assert len(left) > 30
    assert rows_left == {6, 2, 1, 0}


def test_who_reads_while_hours_move_always_sees_all_of_them(tmp_path: Path) -> None:
    with past.opened(tmp_path) as one:
        one.add(*past.rows(3, 3_000, past=MONTH + 2))
        wanted = one.db.read_now(history.of_all, EVERYTHING)
        seen: list[bool] = []
        begun, done = threading.Event(), threading.Event()

        def watch() -> None:
            while not done.is_set():
                seen.append(one.db.read_now(history.of_all, EVERYTHING) == wanted)
                begun.set()

        watcher = threading.Thread(target=watch)
        watcher.start()
        assert begun.wait(10)
        while (batch := one.db.read_now(archive.copied, MONTH + 2, 100, frozenset())) is not None:
            assert one.db.write_now(archive.moved, batch)
        done.set()
        watcher.join()
        assert len(seen) > 3
        assert all(seen)


def test_with_no_retention_everything_is_kept(tmp_path: Path) -> None:
    with past.opened(tmp_path) as one:
        one.add(*past.rows(1, 20), row(5))
        one.move(now_ms=NOW_MS, months=0)
        one.check()
        assert (tmp_path / "history-1970-01.db").exists()
