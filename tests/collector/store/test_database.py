"""Group commit, failures, migrations."""

import asyncio
import contextlib
import shutil
import sqlite3
from pathlib import Path

import peewee
import pytest
from playhouse import migrations

from collector.domain import refusals
from collector.domain.users import Status
from collector.domain.validity import ENDLESS
from collector.store import admins, tables, users
from collector.store.database import Database
from collector.store.engines import engine, sqlite
from collector.store.session import Session
from shared.names import UserId

_MIGRATIONS = engine.MIGRATIONS


def _add(session: Session, name: str) -> int:
    return admins.insert(session, name, "hash", 0)


def _add_and_fail(session: Session, name: str) -> None:
    _add(session, name)
    raise ValueError("decided against it")


def test_a_write_that_fails_undoes_itself_and_not_its_neighbours(tmp_path: Path) -> None:
    async def scenario(db: Database) -> list[object]:
        writes = [db.write(_add, "a"), db.write(_add_and_fail, "b"), db.write(_add, "c")]
        return list(await asyncio.gather(*writes, return_exceptions=True))

    db = Database.open(tmp_path)
    first, failed, third = asyncio.run(scenario(db))
    assert (first, third) == (1, 2)
    assert isinstance(failed, ValueError)
    assert db.read_now(admins.count) == 2
    db.close()


def test_what_was_answered_is_there_after_opening_again(tmp_path: Path) -> None:
    db = Database.open(tmp_path)
    db.write_now(_add, "a")
    db.close()
    again = Database.open(tmp_path)
    assert again.read_now(admins.count) == 1
    again.close()


def test_commits_of_another_process_are_noticed_and_own_ones_are_not(tmp_path: Path) -> None:
    db = Database.open(tmp_path)
    assert not asyncio.run(db.changed_elsewhere())
    db.write_now(_add, "a")
    assert not asyncio.run(db.changed_elsewhere())
    other = sqlite3.connect(tmp_path / sqlite.FILE)
    with other:
        other.execute("UPDATE admin SET name = 'b'")
    other.close()
    assert asyncio.run(db.changed_elsewhere())
    assert not asyncio.run(db.changed_elsewhere())
    db.close()


def test_a_database_that_cannot_grow_refuses_in_words_and_recovers(tmp_path: Path) -> None:
    db = Database.open(tmp_path)

    def limit(session: Session, pages: int) -> None:
        session.rows(f"PRAGMA max_page_count = {pages}")

    def fill(session: Session) -> None:
        session.run_many(
            "INSERT INTO admin (name, password_hash, credential, created_ms) VALUES (?, ?, 1, 0)",
            [(f"name-{number}", "x" * 4_000) for number in range(100)],
        )

    db.write_now(limit, 1)
    with pytest.raises(refusals.Refused) as refused:
        db.write_now(fill)
    assert refused.value.kind is refusals.Kind.UNAVAILABLE
    assert "full" in refused.value.detail
    assert db.read_now(admins.count) == 0
    db.write_now(limit, 1_000_000)
    db.write_now(fill)
    assert db.read_now(admins.count) == 100
    db.close()


def test_migrations_build_exactly_the_tables_of_the_models(tmp_path: Path) -> None:
    Database.open(tmp_path).close()
    fresh = peewee.SqliteDatabase(":memory:")
    with fresh.bind_ctx(tables.ALL):
        fresh.create_tables(tables.ALL)
        wanted = _schema(fresh.connection())  # type: ignore[no-untyped-call]  # peewee leaves it untyped
    fresh.close()
    migrated = sqlite3.connect(tmp_path / sqlite.FILE)
    assert _schema(migrated) == wanted
    migrated.close()


def test_a_database_of_the_first_version_is_migrated_with_what_it_holds(tmp_path: Path) -> None:
    first = tmp_path / "first"
    first.mkdir()
    shutil.copy(_MIGRATIONS / "0001_initial.py", first)
    old = peewee.SqliteDatabase(str(tmp_path / sqlite.FILE))
    with old.connection_context():
        migrations.Runner(old, str(first)).up()
    with contextlib.closing(sqlite3.connect(tmp_path / sqlite.FILE)) as filled, filled:
        filled.execute(
            'INSERT INTO "user" (id, uuid, uuid_key, name, name_key, status, quota_bytes, created_ms)'
            " VALUES (7, 'u', 'k', 'ada', 'ada', 'suspended', 900, 5)"
        )
        filled.execute(
            "INSERT INTO counter (user_id, up_bytes, down_bytes, first_ms, last_ms)"
            " VALUES (7, 300, 600, 6, 8)"
        )
    db = Database.open(tmp_path)
    user = db.read_now(users.one, UserId(7))
    db.close()
    assert user is not None
    assert (user.name, user.status, user.quota_bytes, user.terms) == ("ada", Status.SUSPENDED, 900, 1)
    assert (user.up_bytes, user.down_bytes, user.first_used_ms, user.last_used_ms) == (300, 600, 6, 8)
    assert (user.life_up_bytes, user.life_down_bytes, user.period_start_ms) == (300, 600, 0)
    assert (user.validity, user.due_ms) == (ENDLESS, None)
    assert (user.max_concurrent, user.allowed_devices, user.first_connected_ms) == (None, (), None)


def _schema(connection: sqlite3.Connection) -> set[tuple[object, ...]]:
    """Tables by their columns in any order, since a migration adds at the end; indexes as they are."""
    named = connection.execute(
        "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL"
        " AND tbl_name NOT IN ('schema_migration', 'sqlite_sequence')"
    ).fetchall()
    found: set[tuple[object, ...]] = set()
    for kind, name, sql in named:
        if kind == "index":
            found.add((kind, name, sql.replace("IF NOT EXISTS ", "")))
            continue
        found.add((kind, name, "WITHOUT ROWID" in sql))
        columns = connection.execute('SELECT name, type, "notnull", pk FROM pragma_table_info(?)', (name,))
        found |= {("column", name, *column) for column in columns}
    return found
