"""A database with a past: closed hours of three months, and meters that are in the middle of an hour."""

import asyncio
import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from collector.domain import history as rules
from collector.domain.history import Amount, Moved, Span
from collector.store import history
from collector.store.database import Database
from collector.store.session import Session
from collector.tasks import history as task
from shared.names import EndpointId, NodeId, UserId
from tests.kit import stores
from tests.kit.stores import Store

#: January 2026, as months are counted.
MONTH = 2026 * 12
#: The present lies in March.
NOW_HOUR = rules.hours_of_month(MONTH + 2).first + 100
NOW_MS = NOW_HOUR * rules.HOUR_MS + 5
EVERYTHING = Span(0, NOW_HOUR + 1)
USERS = tuple(map(UserId, range(1, 6)))
#: Endpoints by the nodes they are on.
NODES = {NodeId(1): (EndpointId(1), EndpointId(2)), NodeId(2): (EndpointId(3),)}
NODE_OF = {endpoint: node for node, endpoints in NODES.items() for endpoint in endpoints}

Rows = dict[tuple[int, int, int], Amount]


@dataclass(frozen=True)
class Past:
    """The database and, beside it, what it should show by hour, user and endpoint."""

    db: Database
    truth: Rows

    def add(self, *rows: Moved) -> None:
        """Close hours."""
        self.db.write_now(history.add, rows)
        for hour, user, endpoint, *amount in rows:
            key = (hour, user, endpoint)
            self.truth[key] = self.truth.get(key, rules.NOTHING).plus(Amount(*amount))

    def open(self, *rows: Moved) -> None:
        """Have meters in the middle of these hours; each under its node's own ledger."""
        self.db.write_now(_open, rows)
        for hour, user, endpoint, *amount in rows:
            key = (hour, user, endpoint)
            self.truth[key] = self.truth.get(key, rules.NOTHING).plus(Amount(*amount))

    def move(self, now_ms: int = NOW_MS, months: int = 0) -> None:
        """What the task does at this moment."""
        asyncio.run(task.run(self.db, months, lambda: now_ms))

    def check(self, span: Span = EVERYTHING) -> None:
        """Every way of asking shows what is true of these hours."""
        inside = {key: amount for key, amount in self.truth.items() if span.first <= key[0] < span.past}
        assert self.db.read_now(history.of_all, span) == _by(inside)
        for user in USERS:
            wanted = _by({key: amount for key, amount in inside.items() if key[1] == user})
            assert self.db.read_now(history.of_user, user, span) == wanted
        for endpoints in NODES.values():
            wanted = _by({key: amount for key, amount in inside.items() if key[2] in endpoints})
            assert self.db.read_now(history.of_endpoints, endpoints, span) == wanted
        for order in rules.Order:
            by_user = {user: _total(inside, 1, user) for user in USERS}
            top = self.db.read_now(history.top_users, span, order, 3)
            assert top == rules.largest(by_user.items(), order, 3)
        found = self.db.read_now(history.by_endpoint, span)
        by_endpoint = {one: _total(inside, 2, one) for one in NODE_OF}
        assert {one: amount for one, amount in found.items() if any(amount)} == {
            one: amount for one, amount in by_endpoint.items() if any(amount)
        }

    def count(self) -> int:
        """Rows of history that lie in the database itself."""
        return int(self.db.read_now(lambda session: session.rows("SELECT COUNT(*) FROM history"))[0][0])


@contextmanager
def opened(place: Path | Store, truth: Rows | None = None) -> Iterator[Past]:
    """The database at this place, and what is true of it."""
    db = stores.of(place).open()
    try:
        db.write_now(_fleet)
        yield Past(db, {} if truth is None else dict(truth))
    finally:
        db.close()


def rows(seed: int, count: int, *, first: int = MONTH, past: int = MONTH + 3) -> list[Moved]:
    """Hours that were closed in these months, drawn by this seed."""
    chance = random.Random(seed)
    span = Span(rules.hours_of_month(first).first, min(NOW_HOUR, rules.hours_of_month(past).first))
    return [
        Moved(
            chance.randrange(*span),
            chance.choice(USERS),
            chance.choice(sorted(NODE_OF)),
            *(chance.randrange(10**12) for _ in range(4)),
        )
        for _ in range(count)
    ]


def row(hour: int, *amount: int, user: int = 1, endpoint: int = 1) -> Moved:
    """What a user moved over an endpoint in one hour."""
    return Moved(hour, UserId(user), EndpointId(endpoint), *(amount or (1, 2, 3, 4)))


def _fleet(session: Session) -> None:
    for node, endpoints in NODES.items():
        session.run(
            "INSERT INTO ledger (id, name, node_id, created_ms, epoch, sequence, hour, serial)"
            " VALUES (?, ?, ?, 0, 0, 0, 0, 0) ON CONFLICT DO NOTHING",
            (node, f"ledger-{node}", node),
        )
        for endpoint in endpoints:
            session.run(
                "INSERT INTO endpoint (id, node_id, name, protocol, listen, port, factor_permille)"
                " VALUES (?, ?, 'e', 'vless', '::', 443, 1000) ON CONFLICT DO NOTHING",
                (endpoint, node),
            )


def _open(session: Session, moved: Iterable[Moved]) -> None:
    for hour, user, endpoint, *amount in moved:
        key = (NODE_OF[endpoint], user, endpoint)
        before = [1_000_000 * place + user for place in range(1, 5)]
        session.run(
            "INSERT INTO opening (ledger_id, user_id, endpoint_id, hour, up_bytes, down_bytes,"
            " billed_up_bytes, billed_down_bytes) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (*key, hour, *before),
        )
        totals = [old + more for old, more in zip(before, amount, strict=True)]
        session.run(
            "INSERT INTO meter (ledger_id, user_id, endpoint_id, up_bytes, down_bytes, billed_up_bytes,"
            " billed_down_bytes, last_ms) VALUES (?, ?, ?, ?, ?, ?, ?, 0)",
            (*key, *totals),
        )


def _by(rows_of: Rows) -> dict[int, Amount]:
    found: dict[int, Amount] = {}
    for (hour, *_), amount in rows_of.items():
        if any(amount):
            found[hour] = found.get(hour, rules.NOTHING).plus(amount)
    return found


def _total(rows_of: Rows, place: int, number: int) -> Amount:
    return rules.total(amount for key, amount in rows_of.items() if key[place] == number)
