"""SQLite: one file in the data directory, in WAL mode with synchronous=FULL."""

import itertools
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import msgspec
import peewee
from playhouse import migrations

from collector.store import tables
from collector.store.engines.engine import MIGRATIONS, Unusable

FILE = "user.db"
_PRAGMAS = {
    "journal_mode": "wal",
    "synchronous": "full",
    "foreign_keys": 0,
    "busy_timeout": 10_000,
    "cache_size": -16_000,
    "wal_autocheckpoint": 10_000,
    "journal_size_limit": 64 * 1024 * 1024,
}
#: Rows a statement.
_TOGETHER = 64


class Sqlite:
    """The file of one data directory."""

    wanted = "json_each(?) AS wanted"

    def __init__(self, directory: Path) -> None:
        self.directory: Path | None = directory
        self._path = directory / FILE
        self._database: Any = peewee.SqliteDatabase(str(self._path), pragmas=_PRAGMAS, timeout=10)
        self.execute: Any = self._database.execute_sql

    def open(self, *, new: bool) -> None:
        """Make the file where it may be new, and migrate it."""
        if not new and not self._path.exists():
            raise Unusable(f"{self._path} is missing: restore it from a backup")
        self._database.bind(tables.ALL)
        migrations.Runner(self._database, str(MIGRATIONS)).up()

    def execute_many(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        """Run one statement for many rows, compiled once."""
        self._database.connection().executemany(sql, rows)

    def numbers(self, values: Iterable[int]) -> object:
        """The parameter of `wanted`."""
        return msgspec.json.encode(sorted(set(values))).decode()

    def put_many(
        self, table: str, keys: Sequence[str], values: Sequence[str], rows: Iterable[Sequence[object]]
    ) -> None:
        """Put whole rows in the place of those with the same keys."""
        news = ", ".join(f"{name} = excluded.{name}" for name in values)
        conflict = f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {news}"
        self.insert_many(table, (*keys, *values), rows, conflict)

    def insert_many(
        self, table: str, columns: Sequence[str], rows: Iterable[Sequence[object]], conflict: str
    ) -> None:
        """Insert many rows, many a statement: with each of them other threads are let in."""
        row = f"({', '.join('?' * len(columns))})"
        one = f"INSERT INTO {table} ({', '.join(columns)}) VALUES {row} {conflict}"
        many = one.replace(row, ", ".join([row] * _TOGETHER))
        connection, left = self._database.connection(), iter(rows)
        while len(part := list(itertools.islice(left, _TOGETHER))) == _TOGETHER:
            connection.execute(many, list(itertools.chain.from_iterable(part)))
        connection.executemany(one, part)

    def make_month(self, year: int, month: int) -> None:
        """Nothing: this engine has no partitions."""

    def drop_month(self, year: int, month: int) -> None:
        """Nothing: this engine has no partitions."""

    def writing(self) -> AbstractContextManager[object]:
        """A transaction that holds the file's write lock from its beginning."""
        return self._transaction("IMMEDIATE")

    def reading(self) -> AbstractContextManager[object]:
        """A transaction on one snapshot."""
        return self._transaction()

    def others(self) -> int:
        """The file's version as the writer's connection sees it: moved by commits of other connections only.

        The readers never commit anything.
        """
        return int(self.execute("PRAGMA data_version").fetchone()[0])

    def why(self, error: BaseException) -> str | None:
        """The first thing that went wrong: a full disk ends the transaction; later errors say only that."""
        if not isinstance(error, (peewee.OperationalError, sqlite3.OperationalError)):
            return None
        while isinstance(error.__context__, peewee.DatabaseError | sqlite3.Error):
            error = error.__context__
        return str(error)

    def disconnect(self) -> None:
        """Close the connection of this thread."""
        self._database.close()

    def close(self) -> None:
        """Close the connection of this thread; those of other threads end with them."""
        self._database.close()

    def _transaction(self, *kind: str) -> AbstractContextManager[object]:
        made: AbstractContextManager[object] = self._database.atomic(*kind)
        return made
