"""The history on PostgreSQL: each row in the partition of its month, whenever that was made."""

import datetime
from collections.abc import Iterator

import pytest

from collector.store.database import Database
from collector.store.session import Session
from tests.kit import stores
from tests.kit.postgres import Cluster
from tests.kit.stores import PostgresStore

pytestmark = pytest.mark.postgres

_COLUMNS = (
    *("hour", "user_id", "endpoint_id", "up_bytes", "down_bytes"),
    *("billed_up_bytes", "billed_down_bytes"),
)
_ADDED = (
    "ON CONFLICT (hour, user_id, endpoint_id) DO UPDATE SET up_bytes = history.up_bytes + excluded.up_bytes"
)


@pytest.fixture
def store(cluster: Cluster) -> Iterator[PostgresStore]:
    with stores.on_postgres(cluster) as made:
        yield made


@pytest.fixture
def db(store: PostgresStore) -> Iterator[Database]:
    opened = store.open()
    yield opened
    opened.close()


def _hour(year: int, month: int, day: int = 1, hour: int = 0) -> int:
    return int(datetime.datetime(year, month, day, hour, tzinfo=datetime.UTC).timestamp()) // 3600


def _close(session: Session, *hours: int) -> None:
    session.insert_many("history", _COLUMNS, [(hour, 1, 1, 10, 0, 0, 0) for hour in hours], _ADDED)


def _places(session: Session) -> list[tuple[str, int, int]]:
    found = session.rows("SELECT tableoid::regclass::text, hour, up_bytes FROM history ORDER BY hour")
    return [(table, hour, up) for table, hour, up in found]


def test_this_month_and_the_next_have_partitions_from_the_start(db: Database) -> None:
    today = datetime.datetime.now(datetime.UTC)
    hour = int(today.timestamp()) // 3600
    db.write_now(_close, hour, hour + 28 * 24)
    assert all(table.startswith("y20") for table, _, _ in db.read_now(_places))


def test_hours_of_a_month_that_nobody_made_move_into_it_once_it_is_made(db: Database) -> None:
    before, first, last, after = (
        _hour(2031, 11, 30, 23),
        _hour(2031, 12),
        _hour(2031, 12, 31, 23),
        _hour(2032, 1),
    )
    db.write_now(_close, before, first, last, after)
    assert {table for table, _, _ in db.read_now(_places)} == {"other"}
    for _ in range(2):
        db.write_now(lambda session: session.make_month(2031, 12))
    db.write_now(_close, last)
    assert db.read_now(_places) == [
        ("other", before, 10),
        ("y2031m12", first, 10),
        ("y2031m12", last, 20),
        ("other", after, 10),
    ]


def test_a_month_is_dropped_with_its_rows_and_no_others(db: Database) -> None:
    db.write_now(lambda session: session.make_month(2031, 1))
    db.write_now(_close, _hour(2031, 1), _hour(2031, 2))
    for _ in range(2):
        db.write_now(lambda session: session.drop_month(2031, 1))
    assert [hour for _, hour, _ in db.read_now(_places)] == [_hour(2031, 2)]


def test_a_month_that_fails_half_way_leaves_the_rows_where_they_were(db: Database) -> None:
    def fail(session: Session) -> None:
        session.make_month(2031, 1)
        raise ValueError("decided against it")

    db.write_now(_close, _hour(2031, 1))
    with pytest.raises(ValueError, match="against"):
        db.write_now(fail)
    assert db.read_now(_places) == [("other", _hour(2031, 1), 10)]


def test_rows_of_a_history_that_was_not_partitioned_yet_are_kept(store: PostgresStore) -> None:
    hour = _hour(2031, 1)
    store.cluster.ask(store.name, "CREATE TABLE tidegate.history (LIKE history.history INCLUDING ALL)")
    store.cluster.ask(store.name, "INSERT INTO tidegate.history VALUES (%s, 1, 1, 10, 0, 0, 0)", hour)
    store.cluster.ask(store.name, "DROP TABLE history.history")
    db = store.open()
    db.write_now(_close, hour)
    assert db.read_now(_places) == [("other", hour, 20)]
    db.close()
