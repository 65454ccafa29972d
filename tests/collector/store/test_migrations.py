"""Migrations: a migrated database is what a fresh one would be, and keeps what it held, on both engines."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import peewee
import pytest
from playhouse import migrations

from collector.domain.users import Status
from collector.domain.validity import ENDLESS
from collector.store import tables, users
from collector.store.engines import connections, partitions, sqlite
from collector.store.engines.engine import MIGRATIONS
from shared.names import UserId
from tests.kit import stores
from tests.kit.stores import Store

_FILLED = (
    """
    INSERT INTO "user" (id, uuid, uuid_key, name, name_key, status, quota_bytes, created_ms)
    VALUES (7, 'u', 'k', 'ada', 'ada', 'suspended', 900, 5)
    """,
    "INSERT INTO counter (user_id, up_bytes, down_bytes, first_ms, last_ms) VALUES (7, 300, 600, 6, 8)",
    "INSERT INTO endpoint (id, node_id, name, protocol, listen, port) VALUES (3, 1, 'e', 'vless', '', 443)",
    "INSERT INTO ledger (id, name, node_id, created_ms) VALUES (2, 'l', 1, 5)",
    """
    INSERT INTO meter (ledger_id, user_id, endpoint_id, up_bytes, down_bytes, last_ms)
    VALUES (2, 7, 3, 300, 600, 7200001)
    """,
)

#: The list of migrations, and the partitions of the months of today.
_ASIDE = "^(schema_migration|y[0-9]{4}m[0-9]{2})"


def _bare(store: Store) -> Any:  # noqa: ANN401 - peewee has no types
    """The database as peewee's, with nothing in it that came by our opening."""
    if isinstance(store, stores.SqliteStore):
        return peewee.SqliteDatabase(str(store.directory / sqlite.FILE))
    assert isinstance(store, stores.PostgresStore)
    store.name = store.cluster.make()
    database: Any = connections.Connections(store.cluster.address(store.name), alone=False)
    for schema in ("tidegate", "history"):
        database.execute_sql(f"CREATE SCHEMA {schema}")
    return database


@contextlib.contextmanager
def _opened(store: Store) -> Iterator[Any]:
    if isinstance(store, stores.SqliteStore):
        database: Any = peewee.SqliteDatabase(str(store.directory / sqlite.FILE))
    else:
        assert isinstance(store, stores.PostgresStore)
        database = connections.Connections(store.cluster.address(store.name), alone=False)
    yield database
    database.close()


def _schema(database: Any) -> set[tuple[object, ...]]:  # noqa: ANN401 - peewee has no types
    read = _sqlite_schema if isinstance(database, peewee.SqliteDatabase) else _postgres_schema
    return read(database)


def _sqlite_schema(database: Any) -> set[tuple[object, ...]]:  # noqa: ANN401 - peewee has no types
    """Tables by their columns in any order, since a migration adds at the end; indexes as they are."""
    named = database.execute_sql(
        "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL"
        " AND tbl_name NOT IN ('schema_migration', 'sqlite_sequence')"
    ).fetchall()
    found: set[tuple[object, ...]] = set()
    for kind, name, sql in named:
        if kind == "index":
            found.add((kind, name, sql.replace("IF NOT EXISTS ", "")))
            continue
        found.add((kind, name, "WITHOUT ROWID" in sql))
        columns = database.execute_sql(
            'SELECT name, type, "notnull", pk FROM pragma_table_info(?)', (name,)
        ).fetchall()
        found |= {("column", name, *column) for column in columns}
    return found


def _postgres_schema(database: Any) -> set[tuple[object, ...]]:  # noqa: ANN401 - peewee has no types
    """Tables with their columns in any order, and what is indexed; names of keys tell their history."""
    tables_ = database.execute_sql(
        """
        SELECT nspname, relname, relkind, relispartition
        FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
        WHERE nspname IN ('tidegate', 'history') AND relkind IN ('r', 'p') AND relname !~ %s
        """,
        (_ASIDE,),
    ).fetchall()
    columns = database.execute_sql(
        """
        SELECT table_schema, table_name, column_name, data_type, is_nullable, column_default IS NULL
        FROM information_schema.columns
        WHERE table_schema IN ('tidegate', 'history') AND table_name !~ %s
        """,
        (_ASIDE,),
    ).fetchall()
    indexes = database.execute_sql(
        """
        SELECT indrelid::regclass::text, indisunique, indisprimary,
            ARRAY(SELECT pg_get_indexdef(indexrelid, n + 1, TRUE) FROM generate_subscripts(indkey, 1) AS n)
        FROM pg_index JOIN pg_class c ON c.oid = indrelid JOIN pg_namespace s ON s.oid = c.relnamespace
        WHERE nspname IN ('tidegate', 'history') AND relname !~ %s
        """,
        (_ASIDE,),
    ).fetchall()
    keyed = {("index", *row[:3], tuple(row[3])) for row in indexes}
    return {("table", *row) for row in tables_} | {("column", *row) for row in columns} | keyed


def test_migrations_build_exactly_the_tables_of_the_models(store: Store) -> None:
    store.open().close()
    with _opened(store) as migrated:
        found = _schema(migrated)
    if isinstance(store, stores.SqliteStore):
        (store.directory / sqlite.FILE).unlink()
    fresh = _bare(store)
    with fresh.bind_ctx(tables.ALL):
        fresh.create_tables(tables.ALL)
    if not isinstance(store, stores.SqliteStore):
        partitions.prepare(fresh.execute_sql)
    wanted = _schema(fresh)
    fresh.close()
    assert len(found) > 100
    assert found == wanted


@pytest.mark.parametrize("last", [path.stem for path in sorted(MIGRATIONS.glob("0*.py"))])
def test_a_database_of_an_older_version_is_migrated_with_what_it_holds(
    store: Store, tmp_path: Path, last: str
) -> None:
    older = tmp_path / "older"
    older.mkdir()
    for path in sorted(MIGRATIONS.glob("0*.py")):
        if path.stem <= last:
            shutil.copy(path, older)
    old = _bare(store)
    first = tmp_path / "first"
    first.mkdir()
    shutil.copy(MIGRATIONS / "0001_initial.py", first)
    migrations.Runner(old, str(first)).up()
    for statement in _FILLED:
        old.execute_sql(statement)
    migrations.Runner(old, str(older)).up()
    old.close()
    _check(store)


def _check(store: Store) -> None:
    db = store.open()
    user = db.read_now(users.one, UserId(7))
    meter = db.read_now(lambda session: session.rows("SELECT billed_up_bytes, billed_down_bytes FROM meter"))
    opening = db.read_now(
        lambda session: session.rows("SELECT hour, up_bytes, billed_down_bytes FROM opening")
    )
    db.close()
    assert user is not None
    assert (user.name, user.status, user.quota_bytes, user.terms) == ("ada", Status.SUSPENDED, 900, 1)
    assert (user.up_bytes, user.down_bytes, user.first_used_ms, user.last_used_ms) == (300, 600, 6, 7200001)
    assert (user.life_up_bytes, user.life_down_bytes, user.period_start_ms) == (300, 600, 0)
    assert (user.validity, user.due_ms) == (ENDLESS, None)
    assert (meter, opening) == ([(300, 600)], [(2, 300, 600)])
