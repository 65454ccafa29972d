"""A transaction in progress, as the app functions hold it.

Models serve the catalogue; the hot path asks the session for set-based SQL on the same connection.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import peewee

from collector.store.hot import Hot


class Session:
    """Statements inside the current transaction of this thread, and what the writer remembers."""

    def __init__(self, database: peewee.Database) -> None:
        self.hot = Hot()
        # peewee leaves these two untyped
        self._execute: Callable[[str, Sequence[object]], Any] = database.execute_sql
        self._connection: Callable[[], Any] = database.connection

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        return list(self._execute(sql, parameters).fetchall())

    def run(self, sql: str, parameters: Sequence[object] = ()) -> int:
        """Run one statement; returns the rows it touched."""
        return int(self._execute(sql, parameters).rowcount)

    #: A table `wanted` with a column `value`; its one parameter is made by `numbers`.
    wanted = "json_each(?) AS wanted"

    def numbers(self, values: Iterable[int]) -> object:
        """The parameter of `wanted`: these numbers, each once and in order."""
        return json.dumps(sorted(set(values)))

    def update_many(
        self, table: str, keys: Sequence[str], values: Sequence[str], rows: Iterable[Sequence[object]]
    ) -> None:
        """Set values of rows found by their keys; a row is its keys, then its values, all whole numbers."""
        wanted = [f"{name} = ?{place}" for place, name in enumerate((*keys, *values), 1)]
        where, news = " AND ".join(wanted[: len(keys)]), ", ".join(wanted[len(keys) :])
        self.run_many(f"UPDATE {table} SET {news} WHERE {where}", rows)

    def run_many(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        """Run one statement for many rows, compiled once."""
        self._connection().executemany(sql, rows)
