"""Where history lies once its month is over: the seam between the two engines (row H9; design: Storage).

On SQLite months that are over move out of user.db into one file each, batch by batch, in three steps: rows
are read; they are written to the month's file under a new number, on the disk; then one transaction of
user.db deletes them and notes the number. That last commit is the whole decision. Before it the rows count in
user.db and the file's new batch counts for nobody; after it the batch counts and the rows are gone. No step
needs the two files to commit together, so a kill or a power cut between any two of them loses nothing and
doubles nothing; what was written for nothing is taken back with the next batch. A user.db that is restored
from a backup knows fewer batches, and still has the rows of the others itself.

On PostgreSQL a month is a partition: nothing moves, and what has expired is dropped with its partition.

What always holds: history only grows, row by row. So a batch of which as many rows are left, with the same
sums, is what was copied; if late bytes came between, nothing is deleted and the batch is copied again.
"""

import contextlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from collector.domain import history
from collector.domain.history import Span
from collector.store import months
from collector.store.months import Known, UnusableError
from collector.store.session import Session

__all__ = ["UnusableError"]

_NEW = Known(0, 0)
_BYTES = "up_bytes, down_bytes, billed_up_bytes, billed_down_bytes"
#: A number below every number: a batch begins after it.
_BELOW = -1


class Shelf(Protocol):
    """Somewhere that rows of history lie: the database, or the file of a month."""

    def rows(self, sql: str, parameters: tuple[object, ...] = ()) -> list[tuple[int, ...]]:
        """All rows of a query."""

    def each(self, sql: str, parameters: tuple[object, ...] = ()) -> Iterator[tuple[int, ...]]:
        """The rows of a query one by one."""

    def table(self, name: str) -> str:
        """What to read the rows of a table from, in SQL."""

    def hours(self, name: str, span: Span) -> Span:
        """Those of these hours of which there may be rows in a table."""


@dataclass(frozen=True)
class _Here:
    """The database itself."""

    session: Session

    def rows(self, sql: str, parameters: tuple[object, ...] = ()) -> list[tuple[int, ...]]:
        return self.session.rows(sql, parameters)

    def each(self, sql: str, parameters: tuple[object, ...] = ()) -> Iterator[tuple[int, ...]]:
        return self.session.each(sql, parameters)

    def table(self, name: str) -> str:
        return name

    def hours(self, name: str, span: Span) -> Span:
        oldest = self.session.rows(f"SELECT MIN(hour) FROM {name} WHERE hour >= ?", (span.first,))[0][0]
        return Span(span.past, span.past) if oldest is None else span.within(Span(oldest, span.past))


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Rows of a month that are in its file and still in the database: those after one key, up to another.

    `content` is their count and the sums of their bytes.
    """

    month: int
    known: Known
    table: str
    after: tuple[int, ...]
    last: tuple[int, ...]
    content: tuple[int, ...]


def here(session: Session) -> Shelf:
    """The database's own rows: of months that are not over, and of late reports."""
    return _Here(session)


def each_shelf(session: Session, span: Span) -> Iterator[Shelf]:
    """Where rows of these hours lie, one after the other. Raises UnusableError.

    The database comes first: what it knows to have moved is in the files already, whatever moves meanwhile.
    """
    yield here(session)
    for month, known in _known(session, span):
        with _opened(session, month, known) as shelf:
            yield shelf


@contextlib.contextmanager
def all_shelves(session: Session, span: Span) -> Iterator[list[Shelf]]:
    """The same, all of them at once. Raises UnusableError."""
    with contextlib.ExitStack() as opened:
        files = [
            opened.enter_context(_opened(session, month, known)) for month, known in _known(session, span)
        ]
        yield [here(session), *files]


def copied(session: Session, before: int, most: int, stuck: frozenset[int]) -> Batch | None:
    """Write the next rows that lie in a month before this one to its file; None when there are none.

    Raises UnusableError; its month then goes into `stuck`, the months that are left alone.
    """
    if session.directory is None:
        return None
    for table in months.KEYS:
        if (month := _oldest(session, table, before, stuck)) is not None:
            return _copied(session, month, table, most)
    return None


def moved(session: Session, batch: Batch) -> bool:
    """Let the file have a batch; False when late bytes came between and it must be copied again."""
    next_one = _noted(session, batch.month).sequence + 1
    if batch.known.sequence != next_one or _content(session, batch) != batch.content:
        return False
    _delete(session, batch)
    session.run(
        "INSERT INTO month (month, sequence, mark) VALUES (?, ?, ?)"
        " ON CONFLICT (month) DO UPDATE SET sequence = excluded.sequence, mark = excluded.mark",
        (batch.month, *batch.known),
    )
    return True


def prepare(session: Session, month: int) -> None:
    """Make room for this month and the next one."""
    for one in (month, month + 1):
        session.make_month(*_of_calendar(one))


def expire(session: Session, before: int, most: int) -> bool:
    """Delete rows of months before this one, so many at most; True when there may be more."""
    first = history.hours_of_month(before).first
    oldest = session.rows("SELECT MIN(hour) FROM history WHERE hour < ?", (first,))[0][0]
    for month in () if oldest is None else range(history.month_of(oldest), before):
        session.drop_month(*_of_calendar(month))
    session.run("DELETE FROM month WHERE month < ?", (before,))
    for table, key in months.KEYS.items():
        columns = ", ".join(key)
        last = session.rows(
            f"SELECT {columns} FROM {table} WHERE hour < ? ORDER BY {columns} LIMIT ?",
            (first, most),
        )
        if last:
            nothing = Batch(month=0, known=_NEW, table=table, after=_start(key, 0), last=last[-1], content=())
            _delete(session, nothing)
            return True
    return False


def drop_files(session: Session, before: int) -> list[str]:
    """Delete the files of months before this one, after `expire`; returns their names."""
    return [] if session.directory is None else months.drop(session.directory, before)


def _known(session: Session, span: Span) -> list[tuple[int, Known]]:
    if span.first == span.past or session.directory is None:
        return []
    rows = session.rows(
        "SELECT month, sequence, mark FROM month WHERE month BETWEEN ? AND ? ORDER BY month",
        (history.month_of(span.first), history.month_of(span.past - 1)),
    )
    return [(month, Known(sequence, mark)) for month, sequence, mark in rows]


def _opened(session: Session, month: int, known: Known) -> contextlib.AbstractContextManager[Shelf]:
    if session.directory is None:
        raise LookupError("this engine has no files of months")
    return months.opened(session.directory, month, known)


def _oldest(session: Session, table: str, before: int, stuck: frozenset[int]) -> int | None:
    """The oldest month before this one of which rows are here."""
    hour = 0
    past = history.hours_of_month(before).first
    while True:
        sql = f"SELECT MIN(hour) FROM {table} WHERE hour >= ? AND hour < ?"
        found = session.rows(sql, (hour, past))[0][0]
        if found is None or (month := history.month_of(found)) not in stuck:
            return None if found is None else month
        hour = history.hours_of_month(month).past


def _copied(session: Session, month: int, table: str, most: int) -> Batch:
    directory = session.directory
    if directory is None:
        raise LookupError("this engine has no files of months")
    span = history.hours_of_month(month)
    key = months.KEYS[table]
    columns, order = f"{', '.join(key)}, {_BYTES}", ", ".join(key)
    rows = session.rows(
        f"SELECT {columns} FROM {table} WHERE hour >= ? AND hour < ? ORDER BY {order} LIMIT ?",
        (*span, most),
    )
    known = _noted(session, month)
    after = months.append(directory, month, known, secrets.randbits(62), table, rows)
    return Batch(
        month=month,
        known=after,
        table=table,
        after=_start(key, span.first),
        last=rows[-1][: len(key)],
        content=(len(rows), *(sum(row[len(key) + place] for row in rows) for place in range(4))),
    )


def _of_calendar(month: int) -> tuple[int, int]:
    year, of_year = divmod(month, 12)
    return year, of_year + 1


def _noted(session: Session, month: int) -> Known:
    rows = session.rows("SELECT sequence, mark FROM month WHERE month = ?", (month,))
    return Known(*rows[0]) if rows else _NEW


def _start(key: tuple[str, ...], hour: int) -> tuple[int, ...]:
    return (hour, *(_BELOW for _ in key[1:]))


def _content(session: Session, batch: Batch) -> tuple[int, ...]:
    sql = f"SELECT {_BYTES} FROM {batch.table} WHERE {_between(batch)}"
    rows = session.rows(sql, batch.after + batch.last)
    return (len(rows), *(sum(row[place] for row in rows) for place in range(4)))


def _delete(session: Session, batch: Batch) -> None:
    sql = f"DELETE FROM {batch.table} WHERE {_between(batch)}"
    session.run(sql, batch.after + batch.last)


def _between(batch: Batch) -> str:
    key = months.KEYS[batch.table]
    columns, marks = ", ".join(key), ", ".join("?" * len(key))
    return f"({columns}) > ({marks}) AND ({columns}) <= ({marks})"
