"""What the collector that serves forgets when others commit to its database, on both engines."""

import contextlib
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from collector.app import endpoints, enrolment, managers, nodes, users
from collector.domain.endpoints import NewEndpoint
from collector.domain.managers import ManagerChanges, NewManager
from collector.domain.nodes import NewNode, NodeChanges
from collector.domain.users import UserChanges
from collector.store import admins
from collector.store.database import Database
from collector.store.engines import sqlite
from collector.store.session import Session
from shared.names import EndpointId, ManagerId, UserId
from tests.collector.app import fleet as made
from tests.collector.app.fleet import ADMIN, NOW_MS, Fleet
from tests.kit.stores import SqliteStore, Store

Work = Callable[[Database, Fleet], Any]


@pytest.fixture
def serving(store: Store) -> Iterator[Fleet]:
    """A collector that serves and remembers a user, who is below a manager with a limit."""
    with made.opened(store, alone=True) as fleet:
        new = NewManager(name="above", quota_bytes=10**12, zone="UTC")
        fleet.db.write_now(managers.create, new, ADMIN, NOW_MS)
        user = fleet.user(manager=ManagerId(1))
        for total in (1, 2):
            fleet.report((user.id, 1, 0, total * 1_000))
        assert _remembers(fleet)
        yield fleet


def _remembers(fleet: Fleet) -> bool:
    """Whether it remembers anybody after its next transaction has begun."""
    return fleet.db.write_now(lambda session: bool(session.hot.admitted()) and bool(session.hot.remembered()))


def _enrol(beside: Database, _: Fleet) -> None:
    node = beside.write_now(nodes.create, NewNode(name="node-2"), ADMIN, NOW_MS).value
    beside.write_now(enrolment.mint, node.id, b"t" * 32, NOW_MS + 60_000, ADMIN, NOW_MS)


def _add_admin(beside: Database, _: Fleet) -> None:
    beside.write_now(admins.insert, secrets.token_hex(8), "hash", NOW_MS)


def _look(beside: Database, _: Fleet) -> None:
    assert beside.read_now(users.one, UserId(1))


def _fail(beside: Database, _: Fleet) -> None:
    def fail(_: Session) -> None:
        raise ValueError("decided against it")

    with pytest.raises(ValueError, match="against"):
        beside.write_now(fail)


@pytest.mark.parametrize("work", [_enrol, _add_admin, _look, _fail])
def test_what_concerns_nobody_who_is_remembered_makes_nobody_forget(
    store: Store, serving: Fleet, work: Work
) -> None:
    with contextlib.closing(store.open()) as beside:
        work(beside, serving)
        assert _remembers(serving)
        _add_admin(beside, serving)
    assert _remembers(serving)


def _change_user(beside: Database, _: Fleet) -> None:
    beside.write_now(users.change, UserId(1), UserChanges(quota_bytes=2_500), ADMIN, NOW_MS)


def _remove_user(beside: Database, _: Fleet) -> None:
    beside.write_now(users.remove, UserId(1), ADMIN, NOW_MS)


def _move_user(beside: Database, _: Fleet) -> None:
    beside.write_now(users.assign, UserId(1), [], ADMIN, NOW_MS)


def _slow_node(beside: Database, fleet: Fleet) -> None:
    beside.write_now(nodes.change, fleet.node.id, NodeChanges(link_mbps=1), ADMIN, NOW_MS)


def _revoke(beside: Database, fleet: Fleet) -> None:
    beside.write_now(nodes.revoke, fleet.node.id, ADMIN, NOW_MS)


def _add_endpoint(beside: Database, fleet: Fleet) -> None:
    new = NewEndpoint(name="more", protocol="vless", port=444)
    beside.write_now(endpoints.create, fleet.node.id, new, ADMIN, NOW_MS)


def _remove_endpoint(beside: Database, _: Fleet) -> None:
    beside.write_now(endpoints.remove, EndpointId(1), ADMIN, NOW_MS)


def _overdraw_manager(beside: Database, _: Fleet) -> None:
    beside.write_now(managers.change, ManagerId(1), ManagerChanges(quota_bytes=1), ADMIN, NOW_MS)


def _report(beside: Database, fleet: Fleet) -> None:
    Fleet(beside, fleet.node, fleet.endpoint).report((1, 1, 0, 9_000))


@pytest.mark.parametrize(
    "work",
    [
        *(_change_user, _remove_user, _move_user, _slow_node, _revoke),
        *(_add_endpoint, _remove_endpoint, _overdraw_manager, _report),
    ],
)
def test_what_concerns_them_makes_the_one_that_serves_forget(
    store: Store, serving: Fleet, work: Work
) -> None:
    with contextlib.closing(store.open()) as beside:
        _enrol(beside, serving)
        work(beside, serving)
        _add_admin(beside, serving)
    assert not _remembers(serving)


def test_a_limit_set_elsewhere_counts_at_once(store: Store, serving: Fleet) -> None:
    with contextlib.closing(store.open()) as beside:
        _change_user(beside, serving)
    assert serving.report((1, 1, 0, 3_000)).value.stopped == [1]


def test_a_commit_of_a_strange_program_makes_the_one_that_serves_forget(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    with made.opened(store, alone=True) as fleet:
        user = fleet.user()
        for total in (1, 2):
            fleet.report((user.id, 1, 0, total * 1_000))
        with contextlib.closing(sqlite3.connect(store.directory / sqlite.FILE)) as strange, strange:
            strange.execute('UPDATE "user" SET quota_bytes = 2500 WHERE id = 1')
        assert fleet.report((user.id, 1, 0, 3_000)).value.stopped == [user.id]


def test_who_does_not_serve_forgets_whatever_is_committed(store: Store) -> None:
    with made.opened(store) as fleet, contextlib.closing(store.open(alone=True)) as serving:
        user = fleet.user()
        for total in (1, 2):
            fleet.report((user.id, 1, 0, total * 1_000))
        assert _remembers(fleet)
        _add_admin(serving, fleet)
        assert not _remembers(fleet)
