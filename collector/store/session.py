"""A transaction in progress, as the app functions hold it.

Models serve the catalogue; the hot path asks the session for set-based SQL on the same connection.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import peewee


class Session:
    """Statements inside the current transaction of this thread."""

    def __init__(self, database: peewee.Database) -> None:
        # peewee leaves these two untyped
        self._execute: Callable[[str, Sequence[object]], Any] = database.execute_sql
        self._connection: Callable[[], Any] = database.connection

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        return list(self._execute(sql, parameters).fetchall())

    def run(self, sql: str, parameters: Sequence[object] = ()) -> int:
        """Run one statement; returns the rows it touched."""
        return int(self._execute(sql, parameters).rowcount)

    def run_many(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        """Run one statement for many rows, compiled once."""
        self._connection().executemany(sql, rows)
