"""How long a cut takes on a real Xray, seen from the clients: many connections at once, many cuts in a row.

Clients are tunnels of this process on the loopback network, so a figure holds their reading as well.
"""

import asyncio
import contextlib
import statistics
import tempfile
import time
from pathlib import Path

from tests.agent.drivers.xray import rig
from tests.bench.figure import Figure
from tests.kit import vless

_CONNECTIONS = 300
_CUTS = 100
_EACH = 3
_GOAL_MS = 100.0


def measure() -> list[Figure]:
    """One cut of 300 connections, and 100 cuts of three, with neighbours who must live."""
    return asyncio.run(_measured())


async def _measured() -> list[Figure]:
    with tempfile.TemporaryDirectory() as directory:
        async with rig.running(Path(directory), *range(1, _CUTS + 3)) as lab:
            many_ms = await _cut(lab, _CUTS + 1, _CONNECTIONS)
            each_ms = [await _cut(lab, user, _EACH) for user in range(1, _CUTS + 1)]
    return [
        _figure(f"a cut of {_CONNECTIONS} connections, to the last one's end", many_ms, _GOAL_MS),
        _figure(f"{_CUTS} cuts of {_EACH} connections, median", statistics.median(each_ms)),
        _figure(f"{_CUTS} cuts of {_EACH} connections, worst", max(each_ms)),
    ]


async def _cut(lab: rig.Rig, user: int, count: int) -> float:
    """Milliseconds from the order to the end of his last connection."""
    async with contextlib.AsyncExitStack() as stack:
        neighbour = await stack.enter_async_context(lab.tunnel(_CUTS + 2))
        tunnels = [await stack.enter_async_context(lab.tunnel(user)) for _ in range(count)]
        for tunnel in (neighbour, *tunnels):
            await tunnel.get("/bytes/10")
        began_s = time.perf_counter()
        ends = asyncio.gather(*(_ended_s(tunnel) for tunnel in tunnels))
        await lab.driver.block([rig.meter(user)])
        await lab.driver.cut([rig.meter(user)])
        last_s = max(await ends)
        if await neighbour.get("/bytes/10") != 10:
            raise RuntimeError("a neighbour was cut")
    return 1000 * (last_s - began_s)


async def _ended_s(tunnel: vless.Tunnel) -> float:
    async with asyncio.timeout(10):
        await tunnel.ended()
    return time.perf_counter()


def _figure(name: str, value_ms: float, goal_ms: float | None = None) -> Figure:
    return Figure(name=name, value=round(value_ms, 1), unit="ms", goal=goal_ms)
