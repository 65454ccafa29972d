"""What a sighting costs: bytes on the wire, CPU of the agent, of Xray's host and of the collector.

10,000 users are connected at once, each from an address of his own. The agent's figure has the messages'
decoding by a collector of the tests in it, the collector's the sending.
"""

import asyncio
import contextlib
import tempfile
import time
import tracemalloc
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import psutil

from agent.core.sessions import Session
from agent.drivers.memory import MemoryDriver
from agent.drivers.xray import sessions
from agent.loops.sessions import SessionsLoop
from collector.domain import standing, users
from collector.domain.users import NewUser
from collector.store import endpoints as placing
from collector.store import users as store
from collector.store.session import Session as Transaction
from collector.tracker import Tracker
from shared.messages import Sighting, Sightings
from shared.names import MAX_SIGHTINGS, EndpointId, NodeId
from tests.agent import fleet
from tests.bench import crowd
from tests.bench.asked import Asked
from tests.bench.figure import Figure
from tests.collector.fronts import rig

_COUNT = 10_000
_ROUNDS = 5
_EVERY_S = 5.0


@dataclass(frozen=True, kw_only=True)
class Told:
    """One list of everybody, and the CPU seconds that one more takes."""

    rows: list[Sighting]
    agent_s: float
    host_s: float


def measure(_asked: Asked) -> list[Figure]:
    """Figures of all parts."""
    told = asyncio.run(_node())
    arriving_s, staying_s = _collector(told.rows)
    wire_bytes = sum(len(msgspec.json.encode(part)) for part in _messages(1, told.rows))
    return [
        Figure(name="sighting on the wire", value=round(wire_bytes / _COUNT, 1), unit="B", goal=80),
        _each("agent's CPU a sighting: list, hash, send", told.agent_s, 30.0),
        _each("CPU of Xray's host a sighting", told.host_s),
        _each("collector's CPU a sighting of who is known", staying_s, 10.0),
        _each("collector's CPU a sighting of who comes, event included", arriving_s),
        Figure(
            name="collector's memory a user online", value=round(_kept_bytes(told.rows) / _COUNT), unit="B"
        ),
        _share(f"agent and host with {_COUNT:,} connections", told.agent_s + told.host_s),
        _share(f"collector with {_COUNT:,} connections", staying_s),
    ]


# --- the node ---


class _Driver(MemoryDriver):
    """Lists connections as Xray's driver does."""

    def __init__(self, gathered: crowd.Crowd) -> None:
        super().__init__()
        self._gathered = gathered

    async def sessions(self) -> Sequence[Session]:
        """What the host was told and the kernel has."""
        return await sessions.alive(self._gathered.host, {crowd.ENDPOINT: self._gathered.port})


async def _node() -> Told:
    async with _running() as (loop, collector, host):
        await loop.once()
        collector.sightings.clear()
        own_s, host_s = time.process_time(), _cpu_s(host)
        for _ in range(_ROUNDS):
            await loop.once()
        own_s, host_s = time.process_time() - own_s, _cpu_s(host) - host_s
        rows = [row for message in collector.sightings for row in message.rows]
    if len(rows) != _COUNT * _ROUNDS:
        raise RuntimeError(f"{len(rows)} of {_COUNT * _ROUNDS} sightings were told")
    return Told(rows=rows[:_COUNT], agent_s=own_s / _ROUNDS, host_s=host_s / _ROUNDS)


@contextlib.asynccontextmanager
async def _running() -> AsyncIterator[tuple[SessionsLoop, fleet.Collector, psutil.Process]]:
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as name:
        async with crowd.gathered(Path(name), _COUNT) as gathered:
            collector = fleet.Collector()
            async with fleet.node(Path(name), collector, _Driver(gathered)) as node:
                yield SessionsLoop(node), collector, gathered.process


# --- the collector ---


def _collector(rows: Sequence[Sighting]) -> tuple[float, float]:
    """CPU seconds of a list whose users come, and of one whose users stay."""
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as name, rig.opened(Path(name)) as collector:
        node = collector.joined()
        endpoint = collector.endpoint(node.id)
        collector.data.write_now(_people, endpoint, collector.now_ms)
        salt = collector.send("POST", "/api/v1/nodes/sessions", {"salt": 0}, token=node.token).json()["salt"]
        bodies = [msgspec.json.encode(message) for message in _messages(salt, rows)]
        rounds_s = [_round_s(collector, node, bodies) for _ in range(1 + _ROUNDS)]
        if collector.tracker.online() != _COUNT:
            raise RuntimeError(f"{collector.tracker.online()} of {_COUNT} users are online")
        return rounds_s[0], sum(rounds_s[1:]) / _ROUNDS


def _round_s(collector: rig.Rig, node: rig.Joined, bodies: Sequence[bytes]) -> float:
    began_s = time.process_time()
    for body in bodies:
        kind = {"content-type": "application/json"}
        answer = collector.send(
            "POST", "/api/v1/nodes/sessions", content=body, headers=kind, token=node.token
        )
        if not answer.json()["taken"]:
            raise RuntimeError("the collector did not take the sightings")
    return time.process_time() - began_s


def _kept_bytes(rows: Sequence[Sighting]) -> int:
    tracker = Tracker(window_s=30.0, penalty_s=120.0)
    tracemalloc.start()
    try:
        for row in rows:
            tracker.admit(NodeId(1), 1, [row], [(row.user, row.endpoint)], 0.0)
        tracker.news.clear()
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


def _people(session: Transaction, endpoint: EndpointId, now_ms: int) -> None:
    for number in range(_COUNT):
        credential = str(uuid.UUID(int=1 + number))
        new = NewUser(name=f"user-{number}", max_concurrent=1)
        made = store.insert(session, standing.fresh(new, credential, now_ms), users.uuid_key(credential))
        placing.assign(session, made.id, [endpoint])


def _messages(salt: int, rows: Sequence[Sighting]) -> list[Sightings]:
    starts = range(0, len(rows), MAX_SIGHTINGS)
    return [Sightings(salt=salt, rows=list(rows[start : start + MAX_SIGHTINGS])) for start in starts]


# --- figures ---


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _each(name: str, seconds: float, goal_us: float | None = None) -> Figure:
    return Figure(name=name, value=round(1e6 * seconds / _COUNT, 2), unit="µs", goal=goal_us)


def _share(name: str, seconds: float) -> Figure:
    return Figure(name=name, value=round(100 * seconds / _EVERY_S, 2), unit="% of a core")
