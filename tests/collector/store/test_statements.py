"""Statements for many rows, and values at the edge, the same on both engines."""

from collections.abc import Iterator

import pytest

from collector.store.database import Database
from collector.store.session import Session
from shared.names import MAX_BYTES
from tests.kit.stores import Store


@pytest.fixture
def db(store: Store) -> Iterator[Database]:
    opened = store.open()
    yield opened
    opened.close()


HELD = ("held_total_bytes", "held_up_bytes", "held_down_bytes")
COLUMNS = ("user_id", "ledger_id", "total_bytes", *HELD)


def _lease(session: Session, *rows: tuple[int, int, int | None]) -> None:
    session.insert_many("lease", COLUMNS, [(*row, 0, 0, 0) for row in rows])


def _leases(session: Session) -> list[tuple[object, ...]]:
    sql = "SELECT user_id, ledger_id, total_bytes, up_bytes FROM lease ORDER BY user_id, ledger_id"
    return session.rows(sql)


_KEY, _FIGURES = COLUMNS[:2], COLUMNS[2:]


def test_rows_are_put_in_the_place_of_those_with_their_keys_and_nothing_is_a_value(db: Database) -> None:
    db.write_now(_lease, (1, 1, 10), (1, 2, MAX_BYTES), (2, 1, 30))
    rows = [(1, 2, None, 0, 0, 0), (2, 1, MAX_BYTES, 0, 0, 0), (9, 9, 1, 0, 0, 0)]
    db.write_now(lambda session: session.put_many("lease", _KEY, _FIGURES, iter(rows)))
    assert db.read_now(_leases) == [
        (1, 1, 10, None),
        (1, 2, None, None),
        (2, 1, MAX_BYTES, None),
        (9, 9, 1, None),
    ]


@pytest.mark.parametrize("count", [1, 63, 64, 65, 200])
def test_of_rows_for_one_key_the_last_counts(db: Database, count: int) -> None:
    rows = [(user, 1, total, 0, 0, 0) for total in (1, 2) for user in range(count)]
    db.write_now(lambda session: session.put_many("lease", _KEY, _FIGURES, rows))
    assert db.read_now(_leases) == [(user, 1, 2, None) for user in range(count)]


def test_a_table_whose_name_is_a_word_of_sql_is_filled_too(db: Database) -> None:
    columns = ("uuid", "name", "status", "terms", "reset", "reset_anchor", "zone", "created_ms")
    row = (1, "u", "n", "active", 1, "never", "calendar", "UTC", 0, False, False)
    values = (*columns, "manager_stopped", "pooled")
    rows = [(*row[:2], name, *row[3:]) for name in "nm"]
    db.write_now(lambda session: session.put_many('"user"', ("id",), values, rows))
    assert db.read_now(lambda session: session.rows('SELECT id, name FROM "user"')) == [(1, "m")]


def test_no_rows_change_nothing(db: Database) -> None:
    def nothing(session: Session) -> None:
        session.insert_many("lease", _KEY, [])
        session.put_many("lease", _KEY, _FIGURES, [])
        session.run_many("DELETE FROM lease WHERE user_id = ?", [])

    db.write_now(nothing)
    assert db.read_now(_leases) == []


def test_many_rows_of_any_type_are_inserted_in_their_order(db: Database) -> None:
    columns = ("at_ms", "actor", "kind", "subject", "data")
    rows = [(number, "a", "KIND", "s%?{}\"',\\", bytes([0, number, 255])) for number in range(5)]
    db.write_now(lambda session: session.insert_many("event", columns, rows))
    sql = "SELECT at_ms, actor, kind, subject, data FROM event ORDER BY id"
    found = db.read_now(lambda session: session.rows(sql))
    assert [(*row[:4], bytes(row[4])) for row in found] == rows


def test_a_row_that_is_there_already_goes_the_way_of_the_conflict(db: Database) -> None:
    db.write_now(_lease, (1, 1, 10), (1, 2, 20))

    def add(session: Session) -> None:
        added = "total_bytes = lease.total_bytes + excluded.total_bytes"
        conflict = f"ON CONFLICT (user_id, ledger_id) DO UPDATE SET {added}"
        session.insert_many("lease", COLUMNS, [(1, 2, 5, 0, 0, 0), (1, 3, 6, 0, 0, 0)], conflict)
        session.insert_many("lease", COLUMNS, [(1, 1, None, 0, 0, 0)], "ON CONFLICT DO NOTHING")

    db.write_now(add)
    assert db.read_now(_leases) == [(1, 1, 10, None), (1, 2, 25, None), (1, 3, 6, None)]


def test_numbers_are_wanted_each_once(db: Database) -> None:
    sql = "SELECT value FROM {} ORDER BY value"
    wanted = [7, 2**40, 7, 1]
    rows = db.read_now(lambda session: session.rows(sql.format(session.wanted), (session.numbers(wanted),)))
    assert rows == [(1,), (7,), (2**40,)]
    assert db.read_now(lambda session: session.rows(sql.format(session.wanted), (session.numbers([]),))) == []


def test_sums_are_whole_numbers(db: Database) -> None:
    db.write_now(_lease, (1, 1, 2**61), (1, 2, 2**61))
    ((total,),) = db.read_now(lambda session: session.rows("SELECT SUM(total_bytes) FROM lease"))
    assert (type(total), total) == (int, 2**62)


def test_text_with_a_nul_does_not_stop_a_write(db: Database) -> None:
    def add(session: Session, detail: str) -> None:
        columns = ("node_id", "number", "at_ms", "received_ms", "kind", "detail")
        session.insert_many("incident", columns, [(1, 1, 0, 0, detail, detail)])
        session.run("UPDATE incident SET detail = ?", (detail,))

    db.write_now(add, "before\0after")
    ((kind, detail),) = db.read_now(lambda session: session.rows("SELECT kind, detail FROM incident"))
    assert kind == detail
    assert detail.startswith("before")
    assert detail.endswith("after")


def test_a_row_counts_as_touched_once(db: Database) -> None:
    db.write_now(_lease, (1, 1, 10), (1, 2, 20))
    assert db.write_now(lambda session: session.run("UPDATE lease SET up_bytes = 1")) == 2
    assert db.write_now(lambda session: session.run("DELETE FROM lease WHERE user_id = ?", (5,))) == 0
