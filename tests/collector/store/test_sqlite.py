"""What only SQLite can go through: a file that may not grow."""

from pathlib import Path

import pytest

from collector.domain import refusals
from collector.store import admins
from collector.store.database import Database
from collector.store.engines.engine import Unusable
from collector.store.session import Session


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


def test_only_a_new_database_may_be_missing(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match="restore it from a backup"):
        Database.open(tmp_path, new=False)
    assert not list(tmp_path.iterdir())
