"""The fast lane: whatever it takes is booked as the careful way would have booked it."""

import contextlib
import functools
import random
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from collector.app import admission, nodes, usage, users
from collector.domain.nodes import NodeChanges
from collector.domain.reports import Received
from collector.domain.resets import Mode
from collector.domain.users import UserChanges
from collector.store.session import Session
from shared.messages import Usage
from shared.names import QUARTER_MS, EndpointId, UserId
from tests.collector.app import fleet as made
from tests.collector.app.fleet import ADMIN, LEDGER, NOW_MS, Fleet
from tests.kit import remembered, stores
from tests.kit.postgres import Cluster
from tests.kit.stores import Store

HOUR_MS = 3_600_000
TABLES = (
    'SELECT id, status, reason, due_ms FROM "user" ORDER BY id',
    "SELECT * FROM counter ORDER BY user_id",
    "SELECT * FROM meter ORDER BY 1, 2, 3",
    "SELECT * FROM opening ORDER BY 1, 2, 3",
    "SELECT * FROM history ORDER BY 1, 2, 3",
    "SELECT kind, subject, at_ms FROM event ORDER BY id",
)


LIMITS = (None, 5 * 10**8, 2 * 10**9)


@dataclass
class Triplets:
    """Collectors that are told the same: one remembers, the others forget before each word what they knew.

    The careful one lets nobody back into the fast lane before he was charged there.
    """

    quick: Fleet
    forgetful: Fleet
    careful: Fleet
    now_ms: int = NOW_MS
    sequence: int = 0
    totals: dict[int, tuple[int, int]] = field(default_factory=dict)

    def all(self, work: Callable[[Fleet], Any]) -> list[Any]:
        found = [work(self.quick)]
        for fleet in (self.forgetful, self.careful):
            fleet.db.write_now(lambda session: session.hot.forget_all())
            barred = mock.patch.object(admission, "readmit", return_value=False)
            with barred if fleet is self.careful else contextlib.nullcontext():
                found.append(work(fleet))
        return found

    def report(self, rows: list[Usage], quarter: int, past: list[tuple[Usage, int]]) -> None:
        self.sequence += 1
        report = Received(
            ledger=LEDGER,
            rows=list(enumerate(rows, len(past))),
            undecodable=[],
            past=[(place, row, of) for place, (row, of) in enumerate(past)],
            quarter=quarter,
            order=(1, self.sequence),
        )
        *others, careful = self.all(
            lambda fleet: fleet.db.write_now(usage.ingest, fleet.node.id, report, self.now_ms).value
        )
        for quick in others:
            # The lane may name nobody whom the careful way would not stop, and must name all whom it would.
            assert quick.stopped == careful.stopped
            assert (quick.accepted, quick.quarantined) == (careful.accepted, careful.quarantined)

    def agree(self) -> None:
        for query in TABLES:
            careful = self._rows(self.careful, query)
            assert self._rows(self.quick, query) == careful, query
            assert self._rows(self.forgetful, query) == careful, query

    def _rows(self, fleet: Fleet, query: str) -> list[tuple[Any, ...]]:
        return fleet.db.read_now(lambda session: session.rows(query))


@contextlib.contextmanager
def _triplets(first: Store | None = None) -> Iterator[Triplets]:
    with (
        tempfile.TemporaryDirectory() as one,
        tempfile.TemporaryDirectory() as two,
        tempfile.TemporaryDirectory() as three,
        made.opened(first or Path(one)) as quick,
        made.opened(Path(two)) as forgetful,
        made.opened(Path(three)) as careful,
    ):
        yield Triplets(quick, forgetful, careful)


def _grown(triplets: Triplets, chance: random.Random, user: int) -> Usage:
    up, down = triplets.totals.get(user, (0, 0))
    if chance.random() < 0.8:
        up, down = up + chance.randrange(0, 4_000_000), down + chance.randrange(0, 40_000_000)
        triplets.totals[user] = up, down
    elif chance.random() < 0.5:
        up //= 2
    return Usage(UserId(user), EndpointId(1), up, down)


def _step(triplets: Triplets, chance: random.Random) -> None:
    triplets.now_ms += chance.choice([10, 1_000, 10_000, 600_000, HOUR_MS])
    user = UserId(chance.randrange(1, 7))
    act = chance.random()
    if act < 0.75:
        people = chance.sample(range(1, 7), chance.randrange(1, 6))
        quarter = triplets.now_ms // QUARTER_MS - (chance.random() < 0.1)
        past = [(_grown(triplets, chance, user), quarter - 2)] if chance.random() < 0.1 else []
        triplets.report([_grown(triplets, chance, one) for one in people], quarter, past)
    elif act < 0.85:
        triplets.all(lambda fleet: fleet.tick(triplets.now_ms))
    elif act < 0.92:
        limits = {
            chance.choice(["quota_bytes", "down_limit_bytes"]): chance.choice([None, 10**8, 10**9, 10**10])
        }
        _change(triplets, user, **limits)
    elif act < 0.96:
        _change(triplets, user, active=chance.random() < 0.7)
    else:
        places = chance.choice([[], [EndpointId(1)]])
        triplets.all(lambda fleet: fleet.db.write_now(users.assign, user, places, ADMIN, triplets.now_ms))


def _add(fleet: Fleet, number: int, **fields: Any) -> None:  # noqa: ANN401 - as NewUser has them
    fleet.user(number, **fields)


def _change(triplets: Triplets, user: UserId, **fields: Any) -> None:  # noqa: ANN401 - as UserChanges has them
    changes = UserChanges(**fields)
    triplets.all(lambda fleet: fleet.db.write_now(users.change, user, changes, ADMIN, triplets.now_ms))


@pytest.mark.parametrize("seed", range(12))
def test_a_collector_that_remembers_books_as_one_that_forgets(seed: int) -> None:
    with _triplets() as triplets:
        _play(triplets, random.Random(seed))


@pytest.mark.postgres
@pytest.mark.parametrize("seed", range(4))
def test_postgres_books_as_sqlite_does(seed: int, cluster: Cluster) -> None:
    with stores.on_postgres(cluster) as store, _triplets(store) as triplets:
        _play(triplets, random.Random(seed))


def _play(triplets: Triplets, chance: random.Random) -> None:
    for number in range(1, 7):
        limit, mode = chance.choice(LIMITS), chance.choice([Mode.NEVER, Mode.HOURLY, Mode.DAILY])
        triplets.all(functools.partial(_add, number=number, quota_bytes=limit, reset=mode))
    for _ in range(80):
        _step(triplets, chance)
        triplets.agree()


def test_what_is_remembered_is_what_the_database_says(fleet: Fleet) -> None:
    people = [fleet.user(number, quota_bytes=10**9) for number in range(1, 4)]
    for step in range(1, 6):
        rows = [(one.id, 1, step * 1_000_000, step * 9_000_000) for one in people]
        fleet.report(*rows, now_ms=NOW_MS + step * 60_000)
    fleet.db.write_now(remembered.rightly)


def test_a_transaction_that_fails_leaves_nothing_remembered(fleet: Fleet) -> None:
    user = fleet.user()
    for total in (1, 2):
        fleet.report((user.id, 1, 0, total * 1_000))
    report = Received(ledger=LEDGER, rows=[(0, Usage(user.id, EndpointId(1), 0, 9_000))], undecodable=[])

    def _fail(session: Session) -> None:
        usage.ingest(session, fleet.node.id, report, NOW_MS + 60_000)
        raise ValueError("after the lane")

    with pytest.raises(ValueError, match="after the lane"):
        fleet.db.write_now(_fail)
    assert fleet.used(user) == (0, 2_000)
    fleet.report((user.id, 1, 0, 9_000))
    assert fleet.used(user) == (0, 9_000)


def test_a_commit_of_another_process_makes_the_writer_forget(fleet: Fleet, store: Store) -> None:
    user = fleet.user()
    for total in (1, 2):
        fleet.report((user.id, 1, 0, total * 1_000))
    with made.reopened(store) as beside:
        beside.change(user, NOW_MS, quota_bytes=2_500)
    assert fleet.report((user.id, 1, 0, 3_000)).value.stopped == [user.id]


def test_a_slower_link_counts_at_once(fleet: Fleet) -> None:
    user = fleet.user()
    for total in (1, 2):
        fleet.report((user.id, 1, 0, total * 1_000))
    fleet.db.write_now(nodes.change, fleet.node.id, NodeChanges(link_mbps=1), ADMIN, NOW_MS)
    assert fleet.report((user.id, 1, 0, 10**9)).value.quarantined
