"""A store with a node, an endpoint and users, for tests of the app functions."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collector.app import clock, endpoints, events, nodes, usage, users
from collector.domain import access
from collector.domain.changes import Change
from collector.domain.endpoints import Endpoint, NewEndpoint
from collector.domain.nodes import NewNode, Node
from collector.domain.reports import Received
from collector.domain.users import NewUser, User, UserChanges
from collector.store.database import Database
from shared.messages import ReportAnswer, Usage
from shared.names import EndpointId, LedgerId, UserId
from tests.kit import stores
from tests.kit.stores import Store

NOW_MS = 1_800_000_000_000
LEDGER = LedgerId("ledger-a")
ADMIN = access.Actor(access.Role.ADMIN, 1)


def uuid(number: int) -> str:
    """A UUID of its own for each number."""
    return f"{number:08x}-0000-4000-8000-000000000000"


@dataclass(frozen=True)
class Fleet:
    """A database with one node and one endpoint."""

    db: Database
    node: Node
    endpoint: Endpoint

    def user(self, number: int = 1, *, now_ms: int = NOW_MS, **fields: Any) -> User:  # noqa: ANN401 - as NewUser has them
        """Make a user on the endpoint."""
        new = NewUser(name=f"user-{number}", endpoints=(self.endpoint.id,), **fields)
        return self.db.write_now(users.create, new, uuid(number), ADMIN, now_ms).value

    def change(self, user: User, now_ms: int, **fields: Any) -> User:  # noqa: ANN401 - as UserChanges has them
        """Change a user as an admin."""
        return self.db.write_now(users.change, user.id, UserChanges(**fields), ADMIN, now_ms).value

    def tick(self, now_ms: int) -> Change[int]:
        """What the clock does at this moment."""
        return self.db.write_now(clock.advance, 100, now_ms)

    def seen(self, user: User) -> User:
        """The user as he is stored now."""
        return self.db.read_now(users.one, user.id)

    def told(self, user: User) -> list[str]:
        """The kinds of a user's events after his creation, those of his package and first use aside."""
        every = self.db.read_now(events.page, 0, 1_000)
        told = [event.kind for event in every if event.subject == f"user:{user.id}"][1:]
        return [kind for kind in told if kind != "USER_FIRST_USED" and not kind.startswith("PACKAGE_")]

    def report(
        self,
        *rows: tuple[int, int, int, int],
        now_ms: int = NOW_MS + 60_000,
        ledger: LedgerId = LEDGER,
        order: tuple[int, int] = (0, 0),
    ) -> Change[ReportAnswer]:
        """Report totals, each row as user, endpoint, up, down; only with an `order` leases are given."""
        placed = [(place, _usage(*row)) for place, row in enumerate(rows)]
        report = Received(ledger=ledger, rows=placed, undecodable=[], order=order)
        return self.db.write_now(usage.ingest, self.node.id, report, now_ms)

    def used(self, user: User) -> tuple[int, int]:
        """Billed bytes of a user, up and down."""
        seen = self.db.read_now(users.one, user.id)
        return seen.up_bytes, seen.down_bytes


@contextmanager
def opened(place: Path | Store, *, alone: bool = False) -> Iterator[Fleet]:
    """A fleet in this store, or in SQLite in this directory; `alone` as the one that serves."""
    db = stores.of(place).open(alone=alone)
    try:
        node = db.write_now(nodes.create, NewNode(name="node-1"), ADMIN, NOW_MS).value
        new = NewEndpoint(name="main", protocol="vless", port=443)
        yield Fleet(db, node, db.write_now(endpoints.create, node.id, new, ADMIN, NOW_MS).value)
    finally:
        db.close()


@contextmanager
def reopened(place: Path | Store) -> Iterator[Fleet]:
    """The fleet that this store or directory holds."""
    db = stores.of(place).open()
    try:
        node = db.read_now(nodes.find, "node-1")
        assert node is not None
        yield Fleet(db, node, db.read_now(endpoints.of_node, node.id)[0])
    finally:
        db.close()


def _usage(user: int, endpoint: int, up: int, down: int) -> Usage:
    return Usage(UserId(user), EndpointId(endpoint), up, down)
