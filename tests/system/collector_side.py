"""The collector of a world of faults: the real store and the real functions of the app, without HTTP.

What always holds: a kill leaves the database as it lies there, on either engine. After whatever changes the
books, every user's bill is what the collector was told, his endpoints add up to it, and it is no more than
readings showed.
"""

import contextlib
import itertools
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agent.core.counting import Count
from agent.loops.node import Node
from collector.app import endpoints, nodes, quarantine, restarts, usage, users
from collector.domain import access
from collector.domain.endpoints import NewEndpoint
from collector.domain.learning import Word
from collector.domain.nodes import MAX_LINK_MBPS, NewNode
from collector.domain.quarantine import Held
from collector.domain.reports import Received
from collector.domain.users import NewUser, UsageView
from collector.store import nodes as stored
from collector.store.database import Database
from collector.store.session import Session
from shared.messages import Past, Report, ReportAnswer, Usage
from shared.names import EndpointId, NodeId, UserId
from tests.kit import remembered
from tests.kit.stores import SqliteStore, Store
from tests.system import lent, truth
from tests.system.happenings import Moment

NODES, ENDPOINTS, USERS = 2, 2, 3
_FAR_BYTES = 2**60
_BEGAN_MS = 1_800_000_000_000
#: How long it takes to restore a copy: longer than what is taken for a restart.
_AWAY_MS = 10 * 60_000
_ADMIN = access.Actor(access.Role.ADMIN, 1)
_FAST = Path("/dev/shm")  # noqa: S108 - a directory of our own is made in it


class Killed(Exception):  # noqa: N818 - what happened, not what went wrong
    """The collector is gone; whoever waits for its answer gets none."""


@dataclass(frozen=True)
class Letter:
    """A report as it was sent."""

    node: NodeId
    report: Report


@dataclass(frozen=True)
class Ground:
    """A database with nodes, endpoints and users that worlds start from."""

    store: Store
    nodes: tuple[NodeId, ...]
    endpoints: dict[NodeId, tuple[EndpointId, ...]]
    users: tuple[UserId, ...]


@dataclass(frozen=True)
class Copy:
    """A database as it was, and what it had been told."""

    store: Store
    told: truth.Told


@contextlib.contextmanager
def directory() -> Iterator[Path]:
    """A directory in memory where there is one: these worlds promise nothing about power cuts."""
    parent = _FAST if _FAST.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="tidegate-world-", dir=parent) as name:
        yield Path(name)


@contextlib.contextmanager
def ground() -> Iterator[Ground]:
    """SQLite in memory, made once for many worlds."""
    with directory() as place:
        (place / "ground").mkdir()
        with ground_on(SqliteStore(place / "ground")) as made:
            yield made


@contextlib.contextmanager
def ground_on(store: Store) -> Iterator[Ground]:
    """An empty database made the ground of many worlds."""
    with contextlib.closing(store.open()) as database:
        made = {node: _endpoints(database, node) for node in _nodes(database)}
        everywhere = tuple(itertools.chain.from_iterable(made.values()))
        people = tuple(_user(database, number, everywhere) for number in range(USERS))
    yield Ground(store, tuple(made), made, people)


@dataclass
class Collector:
    """The collector and what it has been told."""

    ground: Ground
    witness: truth.Truth
    now_ms: int = _BEGAN_MS
    told: truth.Told = field(default_factory=dict)
    copies: list[Copy] = field(default_factory=list)
    #: What each user was billed when it was last looked at, which is after every change.
    bills: dict[UserId, Count] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._store = self.ground.store.copied()
        self._database = self._store.open(alone=True)
        self.check()

    def receive(self, letter: Letter, *, dies: Moment | None = None) -> ReportAnswer:
        """Book a report. Raises Killed when it is to die on the way."""
        self.now_ms += 1
        past = [
            (n, Usage(p.user, p.endpoint, p.up, p.down), p.quarter) for n, p in enumerate(letter.report.past)
        ]
        order = (letter.report.epoch, letter.report.sequence)
        report = Received(
            ledger=letter.report.ledger,
            rows=list(enumerate(letter.report.rows, len(past))),
            past=past,
            quarter=letter.report.quarter,
            undecodable=[],
            order=order,
            returned=tuple(letter.report.returned),
            unleased=tuple(letter.report.unleased),
            word=_word(letter.report),
        )
        if dies == "before the commit":
            with contextlib.suppress(Killed):
                self._database.write_now(_killed, letter.node, report, self.now_ms)
        else:
            answer = self._database.write_now(usage.ingest, letter.node, report, self.now_ms).value
            told: list[Past | Usage] = [*letter.report.past, *letter.report.rows]
            truth.hear(self.told, letter.report.ledger, told)
            assert answer.accepted == len(told), answer
        if dies:
            self.die()
            raise Killed
        self.check()
        return answer

    def die(self) -> None:
        """SIGKILL, and a start on what lies there."""
        self._store = self._store.killed(self._database)
        self._database = self._store.open(alone=True)
        self.check()

    def back_up(self) -> None:
        """Copy the database."""
        self.copies.append(Copy(self._store.copied(), dict(self.told)))

    def restore(self, copy: Copy) -> None:
        """Put an older copy in the place of the database."""
        self.told = dict(copy.told)
        self._database.close()
        self._store.remove()
        self._store = copy.store.copied()
        self._database = self._store.open(alone=True)
        self.now_ms += _AWAY_MS
        self._database.write_now(restarts.begin, self.now_ms)
        self.check()

    def check(self) -> None:
        """The bills are what was told, add up, and nobody pays for a byte that no reading showed."""
        for view in self._database.read_now(_usage, self.ground.users):
            bill, shown = Count(view.up, view.down), self.witness.of_user(view.user)
            by_endpoint = {one.endpoint: Count(one.up, one.down) for one in view.endpoints}
            assert bill == truth.billed(self.told, view.user), f"user {view.user} is billed {bill}"
            assert by_endpoint == truth.billed_by_endpoint(self.told, view.user)
            assert view.total == bill.up + bill.down
            assert truth.within(truth.NOTHING, bill)
            assert truth.within(bill, shown), f"user {view.user} pays {bill}, readings showed {shown}"
            self.bills[view.user] = bill
        self._database.write_now(remembered.rightly)

    def knows(self, node: NodeId, agent: Node) -> None:
        """What an agent holds is in the books, or its node is asked."""
        self._database.read_now(lent.rightly, node, agent)

    def asks(self, node: NodeId) -> bool:
        """Whether a node is asked what it holds."""
        return self._database.read_now(lent.is_asked, node)

    def held_back(self) -> list[Held]:
        """Rows that were not billed."""
        return self._database.read_now(quarantine.every)

    def close(self) -> None:
        """Let go of everything."""
        self._database.close()
        for store in (self._store, *(copy.store for copy in self.copies)):
            store.remove()


def _usage(session: Session, wanted: Sequence[UserId]) -> list[UsageView]:
    return [users.usage(session, user) for user in wanted]


def _killed(session: Session, node: NodeId, report: Received, now_ms: int) -> None:
    usage.ingest(session, node, report, now_ms)
    raise Killed


def _word(report: Report) -> Word:
    return Word(report.serial, report.learning, tuple(report.held), report.held_after, report.untold)


def _nodes(database: Database) -> list[NodeId]:
    # The fastest link there may be: amounts here are drawn to be awkward, not to fit a wire.
    wanted = [NewNode(name=f"node-{number}", link_mbps=MAX_LINK_MBPS) for number in range(NODES)]
    made = [database.write_now(nodes.create, new, _ADMIN, _BEGAN_MS).value.id for new in wanted]
    for node in made:
        database.write_now(stored.enrolled, node, f"node-{node}", b"", _BEGAN_MS)
    return made


def _endpoints(database: Database, node: NodeId) -> tuple[EndpointId, ...]:
    wanted = [
        NewEndpoint(name=f"way-{number}", protocol="vless", port=443 + number) for number in range(ENDPOINTS)
    ]
    return tuple(
        database.write_now(endpoints.create, node, new, _ADMIN, _BEGAN_MS).value.id for new in wanted
    )


def _user(database: Database, number: int, everywhere: tuple[EndpointId, ...]) -> UserId:
    uuid = f"{number:08x}-0000-4000-8000-000000000000"
    # Every other user is served under leases; his limit is too far away to end a schedule.
    limit = _FAR_BYTES if number % 2 else None
    new = NewUser(name=f"user-{number}", endpoints=everywhere, quota_bytes=limit)
    return database.write_now(users.create, new, uuid, _ADMIN, _BEGAN_MS).value.id
