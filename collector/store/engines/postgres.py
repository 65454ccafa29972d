"""PostgreSQL: one database, chosen by its URL (rows R11, H9).

Schema `tidegate` holds what must be atomic together, schema `history` the closed hours, a partition a month.
Both are on the search path, so statements and migrations name tables as they do on SQLite.
"""

import functools
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import NoneType
from typing import Any

import peewee
import psycopg
from playhouse import migrations

from collector.store import tables
from collector.store.address import Address
from collector.store.engines import connections, partitions
from collector.store.engines.engine import MIGRATIONS, Unsure, Unusable

_OLDEST = 140_000
#: Classes and codes of SQLSTATE that are about the database and not about the statement: connection, right
#: to connect, read-only standby, deadlocks, lost rights, resources, locks, operator, system, damage.
_UNUSABLE = ("08", "28", "3D", "25006", "25P03", "40", "42501", "53", "55P03", "57", "58", "XX001", "XX002")

_PATIENCE_S, _ASK_EVERY_S = 2.0, 0.05
_OFTEN_UPDATED = ("meter", "opening", "lease", "ledger", "counter", "node")


class Postgres:
    """One database. With `alone`, only one process at a time can have it open so: the one that serves."""

    wanted = "unnest(?::bigint[]) AS wanted(value)"

    def __init__(self, address: Address, *, alone: bool) -> None:
        self.directory: Path | None = None
        self._address = address
        self._database: Any = connections.Connections(address, alone=alone)
        self._execute = self._database.execute_sql
        self._types: dict[str, dict[str, str]] = {}

    def open(self, *, new: bool) -> None:
        """Make the schemas where they may be new, and migrate them."""
        self._database.bind(tables.ALL)
        try:
            self._hold()
            self._require_fitting()
            if not new and not self._exists():
                raise Unusable(
                    f"the PostgreSQL database {self._address} holds no collector: restore it from a backup,"
                    " or run `tidegate-collector init` with it and a new data directory"
                )
            self._make()
        except (peewee.DatabaseError, peewee.InterfaceError) as error:
            raise Unusable(self._complaint(error)) from error

    def execute(self, sql: str, parameters: Sequence[object] = ()) -> Any:  # noqa: ANN401 - a driver's cursor
        """Run one statement."""
        return self._execute(_translated(sql), parameters)

    def execute_many(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        """Run one statement for many rows, sent without waiting for the answers."""
        self._database.connection().cursor().executemany(_translated(sql), rows)

    def numbers(self, values: Iterable[int]) -> object:
        """The parameter of `wanted`."""
        return _array(sorted(set(values)))

    def put_many(
        self, table: str, keys: Sequence[str], values: Sequence[str], rows: Iterable[Sequence[object]]
    ) -> None:
        """Put whole rows in the place of those with the same keys, by a statement that names each once."""
        last = {tuple(row[: len(keys)]): row for row in rows}
        news = ", ".join(f"{name} = excluded.{name}" for name in values)
        conflict = f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {news}"
        self.insert_many(table, (*keys, *values), last.values(), conflict)

    def insert_many(
        self, table: str, columns: Sequence[str], rows: Iterable[Sequence[object]], conflict: str
    ) -> None:
        """Insert many rows in one statement."""
        given = list(zip(*rows, strict=True))
        if not given:
            return
        source = f"SELECT * FROM {self._unnested(table, columns)}"
        self._send(f"INSERT INTO {table} ({', '.join(columns)}) {source} {_translated(conflict)}", given)

    def make_month(self, year: int, month: int) -> None:
        """Keep the history of this month in a partition of its own."""
        partitions.make(self._execute, year, month)

    def drop_month(self, year: int, month: int) -> None:
        """Drop the partition of this month."""
        partitions.drop(self._execute, year, month)

    def writing(self) -> AbstractContextManager[object]:
        """A transaction that no other process writes beside."""
        return self._transaction(connections.WRITE)

    def reading(self) -> AbstractContextManager[object]:
        """A transaction on one snapshot."""
        return self._transaction(connections.READ)

    def others(self) -> int:
        """How many commits of other processes there were."""
        return int(self._database.others())

    def why(self, error: BaseException) -> str | None:
        """The first thing that went wrong, without where the server is: that is not for callers."""
        found: str | None = None
        at: BaseException | None = error
        while at is not None:
            if isinstance(at, (Unsure, connections.Taken)):
                return str(at)
            if isinstance(at, psycopg.Error) and _is_unusable(at):
                found = at.diag.message_primary or "PostgreSQL does not answer"
            at = at.__context__
        return found

    def disconnect(self) -> None:
        """Close the connection of this thread."""
        self._database.close()

    def close(self) -> None:
        """Close every connection."""
        self._database.close_all()

    # --- opening ---------------------------------------------------------------------------------------

    def _hold(self) -> None:
        """Have the lock; a collector that ended just now may still have a session at the server."""
        deadline, pause = time.monotonic() + _PATIENCE_S, threading.Event()
        while True:
            try:
                self._database.hold()
            except connections.Taken:
                if time.monotonic() > deadline:
                    raise
                pause.wait(_ASK_EVERY_S)
            else:
                return

    def _require_fitting(self) -> None:
        version, encoding = self._execute(
            "SELECT current_setting('server_version_num')::int, current_setting('server_encoding')"
        ).fetchone()
        if version < _OLDEST:
            raise Unusable(
                f"the PostgreSQL at {self._address} is too old: {_OLDEST // 10_000} or newer is needed"
            )
        if encoding != "UTF8":
            raise Unusable(
                f"the PostgreSQL database {self._address} is in {encoding}: make it with ENCODING 'UTF8'"
            )

    def _exists(self) -> bool:
        found = self._execute("SELECT to_regclass('tidegate.schema_migration') IS NOT NULL").fetchone()
        return bool(found[0])

    def _has_schema(self, name: str) -> bool:
        return bool(self._execute("SELECT to_regnamespace(%s) IS NOT NULL", (name,)).fetchone()[0])

    def _make(self) -> None:
        # A lock of the session: every migration is a transaction of its own.
        self._execute("SELECT pg_advisory_lock(%s, %s)", connections.OPENING)
        try:
            for schema in ("tidegate", "history"):
                if not self._has_schema(schema):
                    self._execute(f"CREATE SCHEMA {schema}")
            migrations.Runner(self._database, str(MIGRATIONS)).up()
            with self._database.atomic():
                self._execute(
                    "INSERT INTO fact (name, value) VALUES (%s, 0) ON CONFLICT DO NOTHING",
                    (connections.COMMITS,),
                )
                partitions.prepare(self._execute)
                self._leave_room()
        finally:
            if not self._database.is_broken():
                self._execute("SELECT pg_advisory_unlock(%s, %s)", connections.OPENING)

    def _leave_room(self) -> None:
        """Let rows that change often be rewritten in their page, for a third of the cost."""
        found = self._execute(
            "SELECT quote_ident(relname) FROM pg_class WHERE relnamespace = 'tidegate'::regnamespace"
            " AND relname = ANY(%s) AND reloptions IS NULL",
            (list(_OFTEN_UPDATED),),
        ).fetchall()
        for (name,) in found:
            self._execute(f"ALTER TABLE tidegate.{name} SET (fillfactor = 50)")

    def _complaint(self, error: BaseException) -> str:
        line = connections.first_line(error)
        first = error.__context__
        if isinstance(error, connections.Taken):
            return f"the PostgreSQL database {self._address} is in use: {line}"
        what = f"the PostgreSQL database {self._address} cannot be opened: {line}"
        if not isinstance(first, psycopg.errors.InsufficientPrivilege):
            return what
        if not self._has_schema("tidegate"):
            user = self._address.user or "USER"
            return f"{what}; its owner can: GRANT CREATE ON DATABASE {self._address.name} TO {user}"
        return f"{what}; open it as the user who owns its schemas tidegate and history"

    # --- statements ------------------------------------------------------------------------------------

    def _unnested(self, table: str, columns: Sequence[str]) -> str:
        types = self._types.get(table) or self._learnt(table)
        return f"unnest({', '.join(f'%s::{types[name]}[]' for name in columns)})"

    def _learnt(self, table: str) -> dict[str, str]:
        rows = self._execute(
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
            " WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped",
            (table,),
        ).fetchall()
        self._types[table] = types = dict(rows)
        return types

    def _send(self, sql: str, columns: Sequence[Sequence[object]]) -> None:
        self._execute(sql, [_array(column) for column in columns])

    def _transaction(self, kind: str) -> AbstractContextManager[object]:
        made: AbstractContextManager[object] = self._database.atomic(kind)
        return made


@functools.lru_cache(1024)
def _translated(sql: str) -> str:
    return sql.replace("?", "%s")


def _array(column: Sequence[object]) -> object:
    """Numbers as PostgreSQL writes an array: cheaper to make than by the driver, one by one."""
    kinds = set(map(type, column))
    if kinds == {int}:
        return f"{{{','.join(map(str, column))}}}"
    if kinds <= {int, NoneType}:
        return f"{{{','.join('NULL' if value is None else str(value) for value in column)}}}"
    return list(column)


def _is_unusable(error: psycopg.Error) -> bool:
    return (error.sqlstate or "").startswith(_UNUSABLE) or (
        error.sqlstate is None and isinstance(error, psycopg.OperationalError)
    )
