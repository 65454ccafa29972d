"""PostgreSQL as it goes wrong: lost connections, lost answers, lost rights, and two who want to serve."""

import asyncio
import contextlib
import dataclasses
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from collector.domain.refusals import Kind, Refused
from collector.store import admins
from collector.store.database import Database
from collector.store.engines import connections
from collector.store.engines.engine import Unusable
from collector.store.session import Session
from tests.kit import severing, stores, waiting
from tests.kit.postgres import Cluster
from tests.kit.severing import Door, Moment
from tests.kit.stores import PostgresStore

pytestmark = pytest.mark.postgres

_COMMIT = b"COMMIT\0"


@pytest.fixture
def store(cluster: Cluster) -> Iterator[PostgresStore]:
    with stores.on_postgres(cluster) as made:
        yield made


@pytest.fixture
def door(cluster: Cluster) -> Iterator[Door]:
    with severing.door(cluster.port) as made:
        yield made


def _add(session: Session, name: str) -> int:
    return admins.insert(session, name, "hash", 0)


def _names(session: Session) -> list[str]:
    return [name for (name,) in session.rows("SELECT name FROM admin ORDER BY id")]


def _through(door: Door, store: PostgresStore, *, alone: bool = False) -> Database:
    way = dataclasses.replace(store.cluster.address(store.name), port=door.port)
    return Database.open(store.cluster.directory, way, alone=alone)


# --- connections -------------------------------------------------------------------------------------------


def test_connections_that_the_server_ended_are_made_again(store: PostgresStore) -> None:
    db = store.open(alone=True)
    db.write_now(_add, "a")
    assert db.read_now(_names) == ["a"]
    for name in "bc":
        store.end_connections()
        assert db.read_now(_names)[0] == "a"
        db.write_now(_add, name)
    assert db.read_now(_names) == ["a", "b", "c"]
    db.close()


def test_a_connection_that_ends_in_the_middle_undoes_everybody_in_the_group(store: PostgresStore) -> None:
    def end_own(session: Session) -> None:
        _add(session, "b")
        session.rows("SELECT pg_terminate_backend(pg_backend_pid())")

    async def scenario(db: Database) -> list[object]:
        # The first one keeps the writer busy until the others wait together.
        writes = [db.write(_add, "a"), db.write(_add, "c"), db.write(end_own), db.write(_add, "d")]
        return list(await asyncio.gather(*writes, return_exceptions=True))

    db = store.open()
    outcomes = asyncio.run(scenario(db))
    done = [name for name, outcome in zip("acbd", outcomes, strict=True) if isinstance(outcome, int)]
    refused = [outcome for outcome in outcomes if isinstance(outcome, Refused)]
    assert refused
    assert all("nothing was changed" in one.detail for one in refused)
    assert db.read_now(_names) == done
    db.close()


def test_an_answer_lost_on_the_way_back_is_found_out(store: PostgresStore, door: Door) -> None:
    db = _through(door, store, alone=True)

    def add_while_others_read(session: Session, name: str) -> None:
        _add(session, name)
        with ThreadPoolExecutor(1) as reader:
            assert name not in reader.submit(db.read_now, _names).result()
        door.trap(_COMMIT, Moment.UNANSWERED)

    for number in range(5):
        db.write_now(add_while_others_read, f"a{number}")
        assert door.shut == number + 1
    assert db.read_now(_names) == [f"a{number}" for number in range(5)]
    assert not asyncio.run(db.changed_elsewhere())
    db.close()


def test_a_commit_that_never_arrived_changed_nothing_and_says_so(store: PostgresStore, door: Door) -> None:
    db = _through(door, store, alone=True)
    door.trap(_COMMIT, Moment.UNHEARD)
    with pytest.raises(Refused, match="nothing was changed, try again later"):
        db.write_now(_add, "a")
    assert db.read_now(_names) == []
    db.write_now(_add, "a")
    assert db.read_now(_names) == ["a"]
    db.close()


def test_where_nobody_can_say_what_became_of_a_commit_the_refusal_says_so(
    store: PostgresStore, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_OUTCOME_S", 0.2)
    db = _through(door, store)
    door.trap(_COMMIT, Moment.UNANSWERED, barred=True)
    with pytest.raises(Refused, match="is not known: look before you try again"):
        db.write_now(_add, "a")
    with pytest.raises(Refused, match="does not answer") as refused:
        db.write_now(_add, "b")
    assert "127.0.0.1" not in refused.value.detail
    with pytest.raises(Refused, match="does not answer"):
        asyncio.run(db.changed_elsewhere())
    door.barred = False
    db.write_now(_add, "c")
    assert db.read_now(_names) == ["a", "c"]
    db.close()


# --- who may write -----------------------------------------------------------------------------------------


def test_a_second_one_that_wants_to_serve_is_refused_and_the_first_goes_on(store: PostgresStore) -> None:
    first = store.open(alone=True)
    with pytest.raises(Unusable, match=r"is in use: another tidegate-collector serves"):
        store.open(alone=True)
    first.write_now(_add, "a")
    beside = store.open()
    beside.write_now(_add, "b")
    beside.close()
    first.close()
    second = store.open(alone=True)
    assert second.read_now(_names) == ["a", "b"]
    second.close()


def test_who_lost_the_lock_with_his_connection_writes_only_after_he_has_it_again(
    store: PostgresStore,
) -> None:
    first = store.open(alone=True)
    first.write_now(_add, "a")
    store.end_connections()
    second = store.open(alone=True)
    with pytest.raises(Refused, match="another tidegate-collector serves") as refused:
        first.write_now(_add, "b")
    assert refused.value.kind is Kind.UNAVAILABLE
    second.write_now(_add, "c")
    second.close()

    def writes_again() -> bool:
        with contextlib.suppress(Refused):
            return bool(first.write_now(_add, "d"))
        return False

    waiting.until(writes_again, within_s=5, what="the server to notice that the second has gone")
    assert first.read_now(_names) == ["a", "c", "d"]
    first.close()


def test_a_write_that_waits_too_long_for_another_process_is_refused(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connections.SESSION, "lock_timeout", "100ms")
    db, other = store.open(), store.open()

    def hold(session: Session) -> None:
        _add(session, "a")
        with pytest.raises(Refused, match="lock timeout"):
            other.write_now(_add, "b")

    db.write_now(hold)
    other.write_now(_add, "c")
    assert db.read_now(_names) == ["a", "c"]
    other.close()
    db.close()


def test_a_database_that_may_only_be_read_refuses_in_words_and_recovers(store: PostgresStore) -> None:
    db = store.open(alone=True)
    setting = f"ALTER DATABASE {store.name} SET default_transaction_read_only"
    store.cluster.ask("postgres", f"{setting} = on")
    store.end_connections()
    with pytest.raises(Refused, match="read-only"):
        db.write_now(_add, "a")
    store.cluster.ask("postgres", f"{setting} = off")
    store.end_connections()
    db.write_now(_add, "b")
    assert db.read_now(_names) == ["b"]
    db.close()


# --- how it works ------------------------------------------------------------------------------------------


def test_a_commit_waits_for_the_disk_whatever_the_database_is_set_to(store: PostgresStore) -> None:
    store.cluster.ask("postgres", f"ALTER DATABASE {store.name} SET synchronous_commit = off")
    db = store.open()
    setting = db.write_now(lambda session: session.rows("SHOW synchronous_commit"))
    level = db.read_now(lambda session: session.rows("SHOW transaction_isolation"))
    assert (setting, level) == ([("on",)], [("repeatable read",)])
    db.close()


def test_rows_that_change_often_are_rewritten_in_their_page(store: PostgresStore) -> None:
    columns = ("ledger_id", "user_id", "endpoint_id")
    totals = ("up_bytes", "down_bytes", "billed_up_bytes", "billed_down_bytes", "last_ms")
    db = store.open()
    rows = [(1, user, 1, 0, 0, 0, 0, 0) for user in range(1_000)]
    db.write_now(lambda session: session.insert_many("meter", (*columns, *totals), rows))
    db.write_now(lambda session: session.put_many("meter", columns, totals, rows))
    db.close()
    sizes = store.cluster.ask(
        store.name, "SELECT reloptions FROM pg_class WHERE relname = 'meter' AND relkind = 'r'"
    )
    assert sizes == [(["fillfactor=50"],)]
    changed = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'meter'"
    assert waiting.until(
        lambda: store.cluster.ask(store.name, changed) == [(1_000, 1_000)], within_s=5, what="the statistics"
    )


def test_no_connection_is_left_when_it_is_closed(store: PostgresStore) -> None:
    db = store.open(alone=True)
    db.write_now(_add, "a")
    asyncio.run(db.read(_names))
    db.read_now(_names)
    db.close()
    with psycopg.connect(
        host="127.0.0.1", port=store.cluster.port, user="tidegate", dbname=store.name
    ) as seen:
        query = "SELECT COUNT(*) - 1 FROM pg_stat_activity WHERE datname = current_database()"
        for _ in range(100):
            (left,) = seen.execute(query).fetchone() or (None,)
            if not left:
                break
            seen.execute("SELECT pg_sleep(0.02)")
            seen.commit()
        assert left == 0
