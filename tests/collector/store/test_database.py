"""Group commit, failures, migrations."""

import asyncio
import sqlite3
from pathlib import Path

import peewee
import pytest

from collector.domain import refusals
from collector.store import admins, database, tables
from collector.store.database import Database
from collector.store.session import Session


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
    other = sqlite3.connect(tmp_path / database.FILE)
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
    migrated = sqlite3.connect(tmp_path / database.FILE)
    assert _schema(migrated) == wanted
    migrated.close()


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
