"""A transaction in progress, as the app functions hold it.

Models serve the catalogue; the hot path asks the session for set-based SQL on the same connection.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from collector.store.engines.engine import Engine
from collector.store.hot import Hot


class Session:
    """Statements inside the current transaction of this thread, with `?` for parameters.

    `hot` is what the writer remembers. `directory` is where files beside the database lie; None where the
    engine keeps everything itself.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.hot = Hot()
        self.directory = engine.directory
        self._execute = engine.execute
        #: A table `wanted` with a column `value`; its one parameter is made by `numbers`.
        self.wanted = engine.wanted

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        return list(self._execute(sql, parameters).fetchall())

    def each(self, sql: str, parameters: Sequence[object] = ()) -> Iterator[tuple[Any, ...]]:
        """The rows of a query one by one, where all of them at once would be too many."""
        yield from self._execute(sql, parameters)

    def run(self, sql: str, parameters: Sequence[object] = ()) -> int:
        """Run one statement; returns the rows it touched."""
        return int(self._execute(sql, parameters).rowcount)

    def numbers(self, values: Iterable[int]) -> object:
        """The parameter of `wanted`: these numbers, each once and in order."""
        return self._engine.numbers(values)

    def put_many(
        self, table: str, keys: Sequence[str], values: Sequence[str], rows: Iterable[Sequence[object]]
    ) -> None:
        """Put whole rows in the place of those with the same keys: a row is keys, then values.

        Of several with one key the last counts.
        """
        self._engine.put_many(table, keys, values, rows)

    def insert_many(
        self, table: str, columns: Sequence[str], rows: Iterable[Sequence[object]], conflict: str = ""
    ) -> None:
        """Insert many rows in their order; `conflict` is an ON CONFLICT clause. No key comes twice."""
        self._engine.insert_many(table, columns, rows, conflict)

    def run_many(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        """Run one statement for many rows, compiled once."""
        self._engine.execute_many(sql, rows)

    def make_month(self, year: int, month: int) -> None:
        """Keep the history of this UTC month in a partition of its own, where the engine has partitions."""
        self._engine.make_month(year, month)

    def drop_month(self, year: int, month: int) -> None:
        """Drop the partition of this UTC month with its rows, where the engine has partitions."""
        self._engine.drop_month(year, month)
