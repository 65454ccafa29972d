"""The agent with 10,000 users on a real Xray: CPU of a poll in which all of them moved, and memory.

What a poll costs is measured in this process with the agent's own driver and ledger: every user has carried
bytes through Xray, so that it has counters of all, and grows between two readings by figures of ours, since
ten thousand connections before each would take longer than the poll. Memory is that of a real agent which
a real collector has given these users, after all of them have moved and were reported.
"""

import asyncio
import contextlib
import dataclasses
import statistics
import sys
import tempfile
import time
from array import array
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from agent import ledger
from agent.core.counting import Count, Counts, Meter, Reading
from agent.core.served import Served
from agent.drivers.xray.driver import XrayDriver
from agent.drivers.xray.options import Options
from collector.app import users
from collector.domain.access import SYSTEM
from collector.domain.users import NewUser
from collector.store.database import Database
from collector.store.session import Session
from shared.messages import Account, Endpoint
from shared.names import EndpointId, UserId
from tests.bench.asked import Asked
from tests.bench.figure import Figure
from tests.demo.stage import Stage
from tests.kit import fleet, lab, source, vless, waiting

_USERS, _QUICK_USERS = 10_000, 100
_POLLS = 20
_BYTES = 100
_STEP_BYTES = 1_000
_AT_ONCE = 50
_A_COMMIT = 1_000
_SERVED_S = 120.0
_IDLE_S = 5.0
_POLL_GOAL_MS, _MEMORY_GOAL_MB = 50.0, 50.0
_ENDPOINT = EndpointId(1)
_MIB = 2**20


def measure(asked: Asked) -> list[Figure]:
    """Both."""
    count = _QUICK_USERS if asked.quick else _USERS
    say = Stage(sys.stderr).say
    return [*polls(count, say), *memory(count, say, _MEMORY_GOAL_MB)]


# --- a poll ------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Poll:
    """CPU of one poll, in milliseconds."""

    reading_ms: float
    booking_ms: float


def polls(count: int, say: Callable[[str], None]) -> list[Figure]:
    """CPU of polls in which so many users moved."""
    with (
        lab.opened([]) as places,
        tempfile.TemporaryDirectory(prefix="tidegate-bench-") as name,
        places["hub"].inside(),
        source.Source() as target,
    ):
        found = asyncio.run(_polled(Path(name), places["hub"].free_port(), target.port, count, say))
    reading = [poll.reading_ms for poll in found]
    booking = [poll.booking_ms for poll in found]
    both = [poll.reading_ms + poll.booking_ms for poll in found]
    name = f"poll of {count:,} users who moved"
    return [
        _figure(f"{name}, CPU, median", statistics.median(both), "ms", _POLL_GOAL_MS),
        _figure(f"{name}, CPU, worst", max(both), "ms"),
        _figure(f"{name}, of it reading", statistics.median(reading), "ms"),
        _figure(f"{name}, of it booking", statistics.median(booking), "ms"),
    ]


async def _polled(
    directory: Path, port: int, target_port: int, count: int, say: Callable[[str], None]
) -> list[_Poll]:
    driver = XrayDriver(
        Options(run_dir=directory / "run", lock_file=directory / "agent.lock", allow_private_targets=True)
    )
    endpoint = Endpoint(endpoint=_ENDPOINT, protocol="vless", port=port, listen="127.0.0.1")
    await driver.start(Served(endpoints={_ENDPOINT: endpoint}))
    try:
        accounts = [
            Account(user=UserId(number), endpoint=_ENDPOINT, uuid=_uuid(number))
            for number in range(1, count + 1)
        ]
        if refused := await driver.add(accounts):
            raise RuntimeError(f"{len(refused)} users were refused")
        say(f"{count:,} users carry {_BYTES} bytes each")
        await _carry([account.uuid for account in accounts], port, target_port)
        with contextlib.closing(ledger.open_ledger(directory / ledger.FILE_NAME)) as book:
            return [await _poll(driver, book, number, count) for number in range(_POLLS)]
    finally:
        await driver.stop()


async def _poll(driver: XrayDriver, book: ledger.Ledger, number: int, count: int) -> _Poll:
    began_s = time.process_time()
    (reading,) = await driver.read()
    read_s = time.process_time()
    grown = Reading(reading.generation, _grown(reading.counts, number * _STEP_BYTES))
    ready_s = time.process_time()
    booked = book.book(grown, time.time_ns() // 1_000_000)
    booked_s = time.process_time()
    if len(booked) != count:
        raise RuntimeError(f"{len(booked)} of {count} users were booked")
    return _Poll((read_s - began_s) * 1000, (booked_s - ready_s) * 1000)


def _grown(counts: Mapping[Meter, Count], more: int) -> Counts:
    """The same users with more bytes, in the form in which the driver tells them."""
    if not isinstance(counts, Counts):
        raise TypeError("the driver tells counts in columns")
    return Counts(counts.meters, array("q", [number + more for number in counts.numbers]))


# --- memory ------------------------------------------------------------------------------------------------


def memory(count: int, say: Callable[[str], None], goal_mb: float) -> list[Figure]:
    """Memory of an agent with so many users."""
    with fleet.opened(("home",)) as everything:
        everything.served(everything.add_user("first"))
        before_mb = _resident_mb(everything)
        if everything.collector.program:
            everything.collector.program.stop()
        credentials = _made(everything.collector.data, everything.endpoint, count)
        everything.collector.start()
        everything.collector_answers()
        say(f"the agent is given {count:,} users")
        waiting.until(lambda: _served(everything, count), within_s=_SERVED_S, what="all users to be served")
        served_mb = _resident_mb(everything)
        place, port = everything.lab["node"], int(everything.source.rpartition(":")[2])
        with place.inside():
            asyncio.run(_carry(credentials, everything.port, port, server=place.address))
        waiting.until(lambda: _all_paid(everything), within_s=_SERVED_S, what="all users to be billed")
        moved_mb = _resident_mb(everything)
        idle_percent = _process(everything).cpu_percent(_IDLE_S)
    return [
        _figure("agent, one user served, resident", before_mb, "MiB"),
        _figure(f"agent, {count:,} users served, resident", served_mb, "MiB"),
        _figure(f"agent, {count:,} users moved and reported, resident", moved_mb, "MiB", goal_mb),
        _figure(f"agent, {count:,} idle users, share of a core", idle_percent, "%"),
    ]


def _made(directory: Path, endpoint: int, count: int) -> list[str]:
    with contextlib.closing(Database.open(directory)) as data:
        return [
            uuid
            for first in range(1, count + 1, _A_COMMIT)
            for uuid in data.write_now(_some, range(first, min(count + 1, first + _A_COMMIT)), endpoint)
        ]


def _some(session: Session, numbers: Sequence[int], endpoint: int) -> list[str]:
    now_ms = time.time_ns() // 1_000_000
    for number in numbers:
        new = NewUser(name=f"load-{number}", zone="UTC", endpoints=(EndpointId(endpoint),))
        users.create(session, new, _uuid(number), SYSTEM, now_ms)
    return [_uuid(number) for number in numbers]


def _served(everything: fleet.Fleet, count: int) -> bool:
    (node,) = everything.api.nodes()
    return bool(node["generation"] > count and node["acknowledged"] == node["generation"])


def _all_paid(everything: fleet.Fleet) -> bool:
    after = 0
    while found := everything.api.call("GET", f"/users?limit=1000&after={after}")["users"]:
        if not all(user["down_bytes"] for user in found):
            return False
        after = found[-1]["id"]
    return True


def _process(everything: fleet.Fleet) -> psutil.Process:
    if everything.agent.program is None:
        raise RuntimeError("the agent must run to be measured")
    return psutil.Process(everything.agent.program.pid)


def _resident_mb(everything: fleet.Fleet) -> float:
    return float(_process(everything).memory_info().rss / _MIB)


# --- both --------------------------------------------------------------------------------------------------


async def _carry(
    credentials: Sequence[str], port: int, target_port: int, *, server: str = "127.0.0.1"
) -> None:
    """Let everybody fetch a few bytes through Xray."""
    turn = asyncio.Semaphore(_AT_ONCE)

    async def fetch(credential: str) -> None:
        async with turn, vless.tunnel(port, credential, target_port, server=server, source=server) as opened:
            if await opened.get(f"/bytes/{_BYTES}") != _BYTES:
                raise RuntimeError(f"{credential} was not served whole")

    async with asyncio.TaskGroup() as group:
        for credential in credentials:
            group.create_task(fetch(credential))


def _uuid(number: int) -> str:
    return f"{number:08x}-0000-4000-8000-000000000000"


def _figure(name: str, value: float, unit: str, goal: float | None = None) -> Figure:
    return Figure(name=name, value=round(value, 1), unit=unit, goal=goal)
