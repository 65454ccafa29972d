"""The file of a month: history that is over, beside the SQLite database (row H9; design: Storage).

What always holds: a file grows by batches, each one transaction that is on the disk when it returns. Batches
are numbered, each has a mark that no other has, and only the last ones are ever taken away again. So a file
that has a batch's number with its mark has exactly what there was when that batch was written, and what the
database does not know of comes after. The file is complete by itself: no journal stays beside it.
"""

import contextlib
import logging
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from collector.domain import history
from collector.domain.history import Span
from shared import logs

LOGGER = logging.getLogger(__name__)

_VERSION = 1
_BUSY_S = 10.0
_BYTES = ("up_bytes", "down_bytes", "billed_up_bytes", "billed_down_bytes")
#: The tables that move, by the columns of their keys.
KEYS = {"history": ("hour", "user_id", "endpoint_id"), "volume": ("hour", "endpoint_id")}


class UnusableError(Exception):
    """The file of a month cannot be used; the text says which, why, and what to do about it."""

    def __init__(self, month: int, file: str, reason: str) -> None:
        name = history.month_name(month)
        super().__init__(
            f"{file} cannot be used ({reason}): restore it from the backup that user.db is of,"
            f" or ask for months other than {name}"
        )
        self.month = month
        self.reason = reason


class Known(NamedTuple):
    """Up to where a file belongs to the database: its last batch with its mark."""

    sequence: int
    mark: int


@dataclass(frozen=True)
class Shelf:
    """Somewhere that rows of history lie; `history` and `volume` are what to read from, in SQL."""

    connection: sqlite3.Connection
    month: int
    sequence: int

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        return self.connection.execute(sql, parameters).fetchall()

    def each(self, sql: str, parameters: Sequence[object] = ()) -> Iterator[tuple[Any, ...]]:
        """The rows of a query one by one."""
        yield from self.connection.execute(sql, parameters)

    def table(self, name: str) -> str:
        """The rows of a table that the database knows of: later batches are none of its past."""
        return f"(SELECT * FROM {name} WHERE sequence <= {int(self.sequence)})"

    def hours(self, _name: str, span: Span) -> Span:
        """Those of these hours that lie in the month."""
        return span.within(history.hours_of_month(self.month))


def path(directory: Path, month: int) -> Path:
    """Where the file of a month lies."""
    return directory / f"history-{history.month_name(month)}.db"


@contextlib.contextmanager
def opened(directory: Path, month: int, known: Known) -> Iterator[Shelf]:
    """A month's file, to be read. Raises UnusableError, also for what fails while it is read."""
    with _said(directory, month), contextlib.closing(_connect(path(directory, month))) as connection:
        connection.execute("PRAGMA query_only = 1")
        _require(connection, known)
        yield Shelf(connection, month, known.sequence)


def append(
    directory: Path, month: int, known: Known, mark: int, table: str, rows: Sequence[tuple[int, ...]]
) -> Known:
    """Add a batch after those that are known; returns its number and mark once it is on the disk.

    Batches after the known ones are taken away first: of them the database knows nothing, since a kill came
    between, or since it was restored from a backup that is older than they are. Raises UnusableError.
    """
    file = path(directory, month)
    with _said(directory, month), contextlib.closing(_connect(file, make=not known.sequence)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        # EXTRA: also that the journal is gone is on the disk, or a power cut would take the batch back.
        connection.execute("PRAGMA synchronous = EXTRA")
        with _transaction(connection):
            _require(connection, known, make=True)
            _undo(connection, month, known)
            sequence = known.sequence + 1
            _write(connection, Known(sequence, mark), table, rows)
    return Known(sequence, mark)


def drop(directory: Path, before: int) -> list[str]:
    """Delete the files of the months before one; returns their names."""
    oldest = path(directory, before).name
    gone = sorted(one for one in directory.glob("history-????-??.db") if one.name < oldest)
    for file in gone:
        file.unlink(missing_ok=True)
        Path(f"{file}-journal").unlink(missing_ok=True)
    return [file.name for file in gone]


def _connect(file: Path, *, make: bool = False) -> sqlite3.Connection:
    if not make and not file.exists():
        raise FileNotFoundError("it is missing")
    # Also readers open it for writing: whoever comes first after a kill takes back what was half written.
    mode = "rwc" if make else "rw"
    connection = sqlite3.connect(
        f"{file.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None, timeout=_BUSY_S
    )
    connection.execute("PRAGMA cache_size = -4000")
    return connection


def _require(connection: sqlite3.Connection, known: Known, *, make: bool = False) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if make and not version and not connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]:
        _lay_out(connection)
        version = _VERSION
    if version != _VERSION:
        raise ValueError(f"it has version {version} of its layout and not {_VERSION}")
    found = connection.execute("SELECT mark FROM batch WHERE sequence = ?", (known.sequence,)).fetchone()
    if known.sequence and (found is None or found[0] != known.mark):
        raise ValueError("it does not belong to this user.db, or lacks what had been moved into it")


def _lay_out(connection: sqlite3.Connection) -> None:
    connection.execute(
        "CREATE TABLE batch (sequence INTEGER PRIMARY KEY, mark INTEGER NOT NULL, kind TEXT NOT NULL,"
        " first_hour INTEGER NOT NULL, last_hour INTEGER NOT NULL)"
    )
    for table, key in KEYS.items():
        columns = ", ".join(f"{name} INTEGER NOT NULL" for name in (*key, "sequence", *_BYTES))
        order = ", ".join((*key, "sequence"))
        connection.execute(f"CREATE TABLE {table} ({columns}, PRIMARY KEY ({order})) WITHOUT ROWID")
    connection.execute(f"PRAGMA user_version = {_VERSION}")


def _undo(connection: sqlite3.Connection, month: int, known: Known) -> None:
    undone = connection.execute(
        "SELECT sequence, kind, first_hour, last_hour FROM batch WHERE sequence > ?", (known.sequence,)
    ).fetchall()
    for sequence, kind, first, last in undone if known.sequence else ():
        connection.execute(
            f"DELETE FROM {kind} WHERE hour BETWEEN ? AND ? AND sequence = ?",
            (first, last, sequence),
        )
    for kind in () if known.sequence else KEYS:
        connection.execute(f"DELETE FROM {kind}")
    if undone:
        connection.execute("DELETE FROM batch WHERE sequence > ?", (known.sequence,))
        name = history.month_name(month)
        logs.event(LOGGER, logging.WARNING, "history_taken_back", month=name, batches=len(undone))


def _write(connection: sqlite3.Connection, batch: Known, table: str, rows: Sequence[tuple[int, ...]]) -> None:
    connection.execute(
        "INSERT INTO batch (sequence, mark, kind, first_hour, last_hour) VALUES (?, ?, ?, ?, ?)",
        (*batch, table, rows[0][0], rows[-1][0]),
    )
    width = len(KEYS[table])
    columns = ", ".join((*KEYS[table], *_BYTES, "sequence"))
    marks = ", ".join("?" * (width + len(_BYTES)))
    connection.executemany(
        f"INSERT INTO {table} ({columns}) VALUES ({marks}, {int(batch.sequence)})",
        rows,
    )


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


@contextlib.contextmanager
def _said(directory: Path, month: int) -> Iterator[None]:
    """Says of a failure which file it is about and what can be done."""
    try:
        yield
    except (sqlite3.Error, OSError, ValueError) as error:
        raise UnusableError(month, path(directory, month).name, str(error)) from error
