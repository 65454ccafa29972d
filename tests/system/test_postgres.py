"""A real collector on a real PostgreSQL, either of which is killed while it writes.

What must hold: whatever was answered is there, once; whatever was refused with "nothing was changed" is not;
the collector works again as soon as the server does, and nobody has to touch it.
"""

import contextlib
import itertools
import json
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from tests.collector import process
from tests.collector.process import Collector
from tests.kit import postgres, waiting
from tests.kit.postgres import Cluster

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.postgres,
    # A handshake that the killed collector breaks off leaves its socket to the collector of garbage.
    pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning"),
]

_MAKERS = 4
_ROUNDS = 3
_BACK_S = 30.0
#: Answers between two kills, so that each kill has writes to hit.
_BETWEEN = 25


@pytest.fixture(scope="module")
def own() -> Iterator[Cluster]:
    """A server of our own: it is killed."""
    with postgres.cluster() as running:
        yield running


@pytest.fixture
def collector(own: Cluster, tmp_path: Path) -> Iterator[Collector]:
    settings = {"TIDEGATE_COLLECTOR_DATABASE_URL": own.url(own.make())}
    made = Collector(tmp_path / "data", process.free_port(), tmp_path / "log", more=settings)
    made.first = made.told("init")
    made.start()
    try:
        yield made
    finally:
        made.stop()


@dataclass
class Load:
    """Admins who make users and a node that reports, until they are told to stop."""

    collector: Collector
    admin: str
    node: str
    user: int
    endpoint: int
    answered: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    unheard: list[str] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)
    told_bytes: int = 0
    stopping: threading.Event = field(default_factory=threading.Event)

    def make_users(self, maker: int) -> None:
        for number in itertools.count():
            if self.stopping.is_set():
                return
            name = f"u-{maker}-{number}"
            try:
                with self.collector.client(self.admin) as client:
                    answer = client.post("/api/v1/users", json={"name": name})
            except httpx.TransportError:
                self.unheard.append(name)
            else:
                self._sort(name, answer)

    def report(self) -> None:
        for total in itertools.count(1_000, 1_000):
            if self.stopping.is_set():
                return
            body = {"ledger": "l", "rows": [[self.user, self.endpoint, 0, total]], "sequence": total}
            with contextlib.suppress(httpx.TransportError), self.collector.client(self.node) as client:
                if client.post("/api/v1/usage", json=body).is_success:
                    self.told_bytes = total

    def _sort(self, name: str, answer: httpx.Response) -> None:
        if answer.is_success:
            self.answered.append(name)
        elif answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            sure = "nothing was changed" in answer.json()["detail"]
            (self.refused if sure else self.unheard).append(name)
        else:
            self.strange.append(answer.text)


@contextlib.contextmanager
def _loaded(collector: Collector) -> Iterator[Load]:
    node, token = collector.joined()
    admin = collector.admin()
    with collector.client(admin) as client:
        way = {"name": "main", "protocol": "vless", "port": 443}
        endpoint = client.post(f"/api/v1/nodes/{node}/endpoints", json=way).json()["id"]
        user = client.post("/api/v1/users", json={"name": "ada", "endpoints": [endpoint]}).json()["id"]
    load = Load(collector, admin, token, user, endpoint)
    threads = [threading.Thread(target=load.make_users, args=(maker,)) for maker in range(_MAKERS)]
    threads.append(threading.Thread(target=load.report))
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        load.stopping.set()
        for thread in threads:
            thread.join()


def _go_on(load: Load) -> None:
    """Wait until writes are answered again."""
    enough, told = len(load.answered) + _BETWEEN, load.told_bytes
    waiting.until(
        lambda: len(load.answered) >= enough and load.told_bytes > told,
        within_s=_BACK_S,
        what=f"writes to be answered again: {load.collector.log.read_text()[-2000:]}",
    )


def _be_refused(load: Load) -> None:
    before = len(load.refused)
    waiting.until(lambda: len(load.refused) > before, within_s=_BACK_S, what="a write to be refused")


def _assert_exact(load: Load, own: Cluster) -> None:
    name = load.collector.more["TIDEGATE_COLLECTOR_DATABASE_URL"].rpartition("/")[2]
    made = [user for (user,) in own.ask(name, "SELECT name FROM tidegate.\"user\" WHERE name <> 'ada'")]
    events = own.ask(name, "SELECT COUNT(*) FROM tidegate.event WHERE kind = 'USER_CREATED'")
    assert not load.strange
    assert len(made) == len(set(made))
    assert events == [(len(made) + 1,)]
    assert set(load.answered) <= set(made)
    assert not set(load.refused) & set(made)
    assert set(made) <= {*load.answered, *load.unheard}
    with load.collector.client(load.admin) as client:
        billed = client.get(f"/api/v1/users/{load.user}/usage").json()["down"]
    assert billed >= load.told_bytes
    with load.collector.client(load.node) as client:
        total = billed + 7
        body = {"ledger": "l", "rows": [[load.user, load.endpoint, 0, total]], "sequence": 10**12}
        assert client.post("/api/v1/usage", json=body).is_success
    with load.collector.client(load.admin) as client:
        assert client.get(f"/api/v1/users/{load.user}/usage").json()["down"] == total


def _killed(own: Cluster) -> None:
    own.kill()


def _shut_at_once(own: Cluster) -> None:
    own.stop(signal.SIGQUIT)


def _restarted_in_order(own: Cluster) -> None:
    own.stop(signal.SIGINT)


@pytest.mark.parametrize("end", [_killed, _shut_at_once, _restarted_in_order])
def test_a_server_that_dies_under_writes_loses_and_doubles_nothing(
    collector: Collector, own: Cluster, end: Callable[[Cluster], None]
) -> None:
    with _loaded(collector) as load:
        for _ in range(_ROUNDS):
            _go_on(load)
            end(own)
            _be_refused(load)
            own.start()
        _go_on(load)
    assert load.refused
    _assert_exact(load, own)
    assert collector.process
    assert collector.process.poll() is None
    said = [json.loads(line)["event"] for line in collector.log.read_text().splitlines()]
    assert said.count("postgres_lost") == said.count("postgres_back") >= _ROUNDS
    assert "Traceback" not in collector.log.read_text()


def test_a_collector_that_is_killed_under_writes_serves_what_it_had_answered(
    collector: Collector, own: Cluster
) -> None:
    with _loaded(collector) as load:
        for _ in range(_ROUNDS):
            _go_on(load)
            assert collector.process
            collector.process.kill()
            collector.process.wait(10)
            collector.start()
        _go_on(load)
    assert load.unheard
    _assert_exact(load, own)


def test_only_one_collector_serves_from_a_database_and_its_commands_wake_waiting_nodes(
    collector: Collector, tmp_path: Path
) -> None:
    second = Collector(tmp_path / "second", process.free_port(), tmp_path / "second.log", more=collector.more)
    done = second.cli("init")
    assert done.returncode == 1
    assert "in use: another tidegate-collector serves" in done.stderr
    node, token = collector.joined()
    with collector.client(token) as agent:
        answers: list[httpx.Response] = []
        poll = threading.Thread(
            target=lambda: answers.append(agent.get(f"/api/v1/nodes/{node}/configs?since=0&wait=20"))
        )
        poll.start()
        assert collector.cli("node", "revoke", "node-1").returncode == 0
        poll.join(10)
        assert answers[0].status_code == httpx.codes.UNAUTHORIZED
