"""WireGuard through the agent's driver, with wireguard-go: peers in thousands, cuts, limits.

The interface is in a network namespace of its own. A block is timed as the loops see it, from the call of the
driver to its return, with all peers there and no reading under way; whoever is blocked is let on again.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import msgspec

from agent.core.counting import Meter
from agent.core.served import Served
from agent.drivers.wireguard.driver import WireGuardDriver
from agent.drivers.wireguard.options import Options
from shared.endpoints import Rate
from shared.messages import Account
from tests.bench.asked import Asked
from tests.bench.figure import Figure
from tests.demo.stage import Stage
from tests.kit import lab, wireguard

_PEERS, _QUICK_PEERS = 10_000, 300
_LIMITED, _QUICK_LIMITED = 2_000, 100
_REPEATS, _SINGLES = 5, 50
_ADD_GOAL_S, _LIMITS_GOAL_S, _BLOCK_GOAL_MS = 3.0, 1.0, 1.0


def measure(asked: Asked) -> list[Figure]:
    """Nothing, with the reason said, where WireGuard cannot run."""
    if reason := wireguard.missing():
        Stage(sys.stderr).say(f"WireGuard is not measured: {reason}")
        return []
    peers, limited = (_QUICK_PEERS, _QUICK_LIMITED) if asked.quick else (_PEERS, _LIMITED)
    with (
        lab.namespaces(["node"]) as places,
        tempfile.TemporaryDirectory() as directory,
        wireguard.chosen(Path(directory)) as chosen,
        places["node"].inside(),
    ):
        return asyncio.run(_measured(chosen, places["node"].free_port(), peers, limited))


async def _measured(chosen: Options, port: int, peers: int, limited: int) -> list[Figure]:
    driver = WireGuardDriver(chosen)
    endpoint = wireguard.endpoint(wireguard.keys(), port)
    crowd = wireguard.crowd(range(10, 10 + peers))
    try:
        await driver.start(wireguard.serving(endpoint))
        return [
            *await _crowd(driver, crowd),
            *await _single(driver, crowd),
            *await _adopted(driver, chosen),
            *await _limits(driver, crowd[:limited]),
        ]
    finally:
        await driver.stop()


async def _crowd(driver: WireGuardDriver, crowd: list[Account]) -> list[Figure]:
    added_s = await _timed(partial(driver.add, crowd))
    await driver.read()
    read_s = [await _timed(driver.read) for _ in range(_REPEATS)]
    told_s = [await _timed(driver.served) for _ in range(_REPEATS)]
    blocked_s = await _timed(driver.cut_all)
    resumed_s = await _timed(partial(driver.add, crowd))
    few = f"{len(crowd)} peers"
    return [
        _figure(f"wireguard: {few} added in one pass", added_s, "s", _ADD_GOAL_S),
        _figure(f"wireguard: {few} read, median", 1000 * statistics.median(read_s), "ms"),
        _figure(f"wireguard: {few} compared, median", 1000 * statistics.median(told_s), "ms"),
        _figure(f"wireguard: {few} blocked at once", blocked_s, "s"),
        _figure(f"wireguard: {few} unblocked at once", resumed_s, "s"),
    ]


async def _single(driver: WireGuardDriver, crowd: list[Account]) -> list[Figure]:
    (fresh,) = wireguard.crowd([len(crowd) + 10])
    joined_ms, blocked_ms, removed_ms = [], [], []
    for account in [fresh, *crowd[: _SINGLES - 1]]:
        meter = Meter(account.user, account.endpoint)
        blocked_ms.append(1000 * await _timed(partial(driver.block, [meter])))
        await driver.read()
        removed_ms.append(1000 * await _timed(partial(driver.cut, [meter])))
        joined_ms.append(1000 * await _timed(partial(driver.add, [account])))
    return [
        _figure(
            "wireguard: block of one among them, median", statistics.median(blocked_ms), "ms", _BLOCK_GOAL_MS
        ),
        _figure("wireguard: block of one among them, worst", max(blocked_ms), "ms"),
        _figure("wireguard: a new one among them", joined_ms[0], "ms"),
        _figure("wireguard: one unblocked among them, median", statistics.median(joined_ms[1:]), "ms"),
        _figure("wireguard: end of a cut after its reading, median", statistics.median(removed_ms), "ms"),
    ]


async def _adopted(driver: WireGuardDriver, chosen: Options) -> list[Figure]:
    await driver.leave()
    following = WireGuardDriver(chosen)
    took_s = await _timed(partial(following.adopt, Served()))
    await following.leave()
    await driver.adopt(Served())
    return [_figure("wireguard: taken over by the next agent", took_s, "s")]


async def _limits(driver: WireGuardDriver, crowd: list[Account]) -> list[Figure]:
    first, second = (
        [msgspec.structs.replace(account, rate=Rate(up_kbps=kbps, down_kbps=kbps)) for account in crowd]
        for kbps in (10_000, 25_000)
    )
    set_s = await _timed(lambda: driver.add(first))
    changed_s = await _timed(lambda: driver.add(second))
    one_s = await _timed(lambda: driver.add(first[:1]))
    removed_s = await _timed(partial(driver.add, crowd))
    few = f"{len(crowd)} speed limits"
    return [
        _figure(f"wireguard: {few} set, up and down", set_s, "s", _LIMITS_GOAL_S),
        _figure(f"wireguard: {few} changed", changed_s, "s", _LIMITS_GOAL_S),
        _figure("wireguard: a speed limit changed among them", 1000 * one_s, "ms"),
        _figure(f"wireguard: {few} removed", removed_s, "s"),
    ]


async def _timed(call: Callable[[], Awaitable[object]]) -> float:
    began_s = time.perf_counter()
    await call()
    return time.perf_counter() - began_s


def _figure(name: str, value: float, unit: str, goal: float | None = None) -> Figure:
    return Figure(name=name, value=round(value, 3), unit=unit, goal=goal)
