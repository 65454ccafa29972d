"""Opening a PostgreSQL database: by whom, which one, and what is said when it cannot be."""

import asyncio
import dataclasses
from collections.abc import Iterator

import pytest

from collector.store import address, admins
from collector.store.database import Database
from collector.store.engines.engine import Unusable
from collector.store.session import Session
from tests.kit import stores
from tests.kit.postgres import GUARDED, Cluster
from tests.kit.stores import PostgresStore

pytestmark = pytest.mark.postgres


@pytest.fixture
def store(cluster: Cluster) -> Iterator[PostgresStore]:
    with stores.on_postgres(cluster) as made:
        yield made


def _add(session: Session, name: str) -> int:
    return admins.insert(session, name, "hash", 0)


def test_only_a_new_database_may_be_empty(cluster: Cluster) -> None:
    name = cluster.make()
    with pytest.raises(Unusable, match="holds no collector: restore it from a backup"):
        Database.open(cluster.directory, cluster.address(name), new=False)
    assert not cluster.ask(name, "SELECT 1 FROM pg_namespace WHERE nspname = 'tidegate'")
    Database.open(cluster.directory, cluster.address(name)).close()
    Database.open(cluster.directory, cluster.address(name), new=False).close()
    cluster.drop(name)


@pytest.mark.parametrize("wrong", ["port", "name", "user", "password", "rights", "encoding"])
def test_what_cannot_be_opened_is_said_in_one_line_without_the_password(cluster: Cluster, wrong: str) -> None:
    name = cluster.make()
    right = cluster.address(name, user=GUARDED, password="the right one")
    way = {
        "port": dataclasses.replace(right, port=1),
        "name": dataclasses.replace(right, name="nowhere"),
        "user": dataclasses.replace(right, host="localhost", user="nobody-knows"),
        "password": dataclasses.replace(right, password="the wrong one"),
    }.get(wrong, right)
    if wrong == "encoding":
        cluster.drop(name)
        cluster.ask("postgres", f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'SQL_ASCII'")
    with pytest.raises(Unusable) as unusable:
        Database.open(cluster.directory, way)
    said = {
        "port": "refused",
        "name": "does not exist",
        "user": "does not exist",
        "password": "password authentication failed",
        "rights": f"GRANT CREATE ON DATABASE {name} TO {GUARDED}",
        "encoding": "ENCODING 'UTF8'",
    }
    assert said[wrong] in str(unusable.value)
    assert "\n" not in str(unusable.value)
    assert " one" not in str(unusable.value)
    cluster.drop(name)


def test_a_local_socket_will_do(store: PostgresStore) -> None:
    db = Database.open(store.cluster.directory, address.parsed(store.cluster.socket_url(store.name)))
    db.write_now(_add, "a")
    db.close()
    assert store.cluster.ask(store.name, "SELECT name FROM tidegate.admin") == [("a",)]


def test_whoever_may_only_make_schemas_can_be_the_owner(cluster: Cluster) -> None:
    name = cluster.make()
    cluster.ask("postgres", f"GRANT CREATE ON DATABASE {name} TO {GUARDED}")
    db = Database.open(cluster.directory, cluster.address(name, user=GUARDED, password="the right one"))
    db.write_now(_add, "a")
    db.close()
    cluster.drop(name)


def test_two_that_open_a_new_database_at_once_make_it_once(cluster: Cluster) -> None:
    name = cluster.make()

    async def scenario() -> None:
        opened = await asyncio.gather(
            *(asyncio.to_thread(Database.open, cluster.directory, cluster.address(name)) for _ in range(4))
        )
        for one in opened:
            await one.write(_add, f"a{id(one)}")
            await asyncio.to_thread(one.close)

    asyncio.run(scenario())
    assert cluster.ask(name, "SELECT COUNT(*) FROM tidegate.admin") == [(4,)]
    cluster.drop(name)
