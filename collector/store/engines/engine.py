"""What the store asks of an engine: statements, transactions, words for a database that cannot be used."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import peewee

MIGRATIONS = Path(__file__).parent.with_name("migrations")


class Unusable(Exception):  # noqa: N818 - reads as what the database is
    """The database cannot be opened. The text is one line, holds no secret and says what to do."""


class Unsure(peewee.OperationalError):
    """The connection broke while it committed, and nobody can say whether the commit was made."""


class Engine(Protocol):
    """Statements of one thread go over one connection of its own; `writing` is for the writer's thread only.

    Keys within one call of `insert_many` must differ: engines disagree about repeats.
    """

    #: A table `wanted` with a column `value`; its one parameter is made by `numbers`.
    wanted: str
    #: Where files beside the database lie; None where the engine keeps everything itself.
    directory: Path | None

    def open(self, *, new: bool) -> None:
        """Make the database ready on the writer's thread: made where it may be `new`, and migrated.

        Raises Unusable.
        """

    def execute(self, sql: str, parameters: Sequence[object] = ()) -> Any:  # noqa: ANN401 - a driver's cursor
        """Run one statement with `?` for parameters; returns the cursor."""

    def execute_many(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        """Run one statement for many rows."""

    def numbers(self, values: Iterable[int]) -> object:
        """The parameter of `wanted`: these numbers, each once and in order."""

    def put_many(
        self, table: str, keys: Sequence[str], values: Sequence[str], rows: Iterable[Sequence[object]]
    ) -> None:
        """Put whole rows, keys and then values, in the place of those with the same keys; the last counts."""

    def insert_many(
        self, table: str, columns: Sequence[str], rows: Iterable[Sequence[object]], conflict: str
    ) -> None:
        """Insert many rows; `conflict` is an ON CONFLICT clause or empty."""

    def make_month(self, year: int, month: int) -> None:
        """Keep the history of this month apart from now on, where the engine has partitions."""

    def drop_month(self, year: int, month: int) -> None:
        """Drop what `make_month` made, with its rows, where the engine has partitions."""

    def writing(self) -> AbstractContextManager[object]:
        """A transaction that no other process writes beside. An exception rolls it back."""

    def reading(self) -> AbstractContextManager[object]:
        """A transaction on one snapshot."""

    def others(self) -> int:
        """A number that moves with every commit of another process. For the writer's thread."""

    def why(self, error: BaseException) -> str | None:
        """Why the database cannot be used, safe to show; None when the error is not about that."""

    def disconnect(self) -> None:
        """Close the connection of this thread."""

    def close(self) -> None:
        """Close every connection; no thread may use the engine any more."""
