"""Speed limits of single users: kept on connections of real clients, changed live, gone with the last."""

import asyncio
import contextlib
import re
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from agent.core import plan
from agent.drivers import nft
from agent.drivers.xray import barrier, sockets
from shared import endpoints
from shared.messages import Account
from tests.agent.drivers.xray import carried, rig, ways
from tests.kit import lab as places
from tests.kit import vless

REFUSAL = places.why_no_namespaces() or sockets.refusal() or nft.refusal()

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.netns,
    pytest.mark.skipif(REFUSAL is not None, reason=f"rates cannot be kept here: {REFUSAL}"),
]

#: Bytes of a second at 10 Mbit/s.
_TEN_MBIT = 1_250_000
_MEASURE_S = 2.0


@pytest.mark.parametrize(
    ("way", "up"),
    [(ways.WEBSOCKET, True), (ways.ON_TCP["mux"], False), (ways.HYSTERIA, True), (ways.HYSTERIA, False)],
    ids=["websocket up", "mux down", "hysteria up", "hysteria down"],
)
def test_a_user_is_as_fast_as_his_rate_a_neighbour_is_not_slowed_and_a_change_is_live(
    tmp_path: Path, way: ways.Way, *, up: bool
) -> None:
    def limited(kbps: int) -> Account:
        return ways.account(1, up_kbps=kbps) if up else ways.account(1, down_kbps=kbps)

    async def scenario() -> None:
        async with (
            carried.running(tmp_path, way, limited(10_000), 2) as lab,
            lab.client(1) as slow,
            lab.client(2) as fast,
            _moving(lab, slow, up=up) as slowed,
            _moving(lab, fast, up=up) as free,
        ):
            await rig.until(lambda: _is_between(slowed, 0.6, 1.3), within_s=15)
            assert await _is_between(slowed, 0.6, 1.3)
            assert await _is_between(free, 3, 100)
            assert await lab.driver.add([limited(30_000)]) == {}
            await rig.until(lambda: _is_between(slowed, 2.0, 3.5), within_s=15)
            assert await _is_between(slowed, 1.8, 3.7)

    carried.run(scenario)


@contextlib.asynccontextmanager
async def _moving(lab: carried.Lab, client: carried.Client, *, up: bool) -> AsyncIterator[Callable[[], int]]:
    """Two streams as fast as they go; gives what counts their bytes at the far end of the limit."""
    async with client.tunnel() as one, client.tunnel() as two, asyncio.TaskGroup() as group:
        tunnels = (one, two)
        path = f"/sink?{client.socks_port}"
        work = (_push(tunnel, path) if up else _pull(tunnel) for tunnel in tunnels)
        tasks = [group.create_task(doing) for doing in work]
        yield lambda: lab.source.received[path] if up else sum(tunnel.taken for tunnel in tunnels)
        for task in tasks:
            task.cancel()


async def _is_between(count: Callable[[], int], low: float, high: float) -> bool:
    """Whether it is so fast now, in tens of Mbit/s."""
    loop = asyncio.get_running_loop()
    began_s, before = loop.time(), count()
    await asyncio.sleep(_MEASURE_S)
    return low * _TEN_MBIT < (count() - before) / (loop.time() - began_s) < high * _TEN_MBIT


async def _pull(tunnel: vless.Tunnel) -> None:
    await tunnel.request("/bytes/100000000000?rate=12500000")
    while await tunnel.take():
        continue


async def _push(tunnel: vless.Tunnel, path: str) -> None:
    await tunnel.send(f"POST {path} HTTP/1.1\r\nContent-Length: 100000000000\r\n\r\n".encode())
    while True:
        await tunnel.send(bytes(62_500))
        await asyncio.sleep(0.005)


def test_new_connections_are_limited_at_once_and_nothing_stays_when_nobody_has_a_rate(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with carried.running(tmp_path, ways.WEBSOCKET, 1, 2) as lab, lab.client(1) as client:
            async with client.tunnel() as before:
                assert await before.get("/bytes/10") == 10
                await rig.until(lambda: lab.heard(1))
                assert not nft.tables()
                assert await lab.driver.add([ways.account(1, up_kbps=1000, down_kbps=2000)]) == {}
                assert len(_limited(lab, "up4")) == len(_limited(lab, "down4")) == 1
                async with client.tunnel() as after, asyncio.timeout(1):
                    assert await after.get("/bytes/10") == 10
                    await rig.until(lambda: _are_limited(lab, 2), within_s=1)
                served = (await lab.driver.served()).accounts[rig.meter(1)]
                assert served.rate == endpoints.Rate(up_kbps=1000, down_kbps=2000)
            assert await lab.driver.add([ways.account(1)]) == {}
            assert not nft.tables()

    carried.run(scenario)


def test_the_next_agent_learns_the_rates_and_cuts_nobody_for_them(tmp_path: Path) -> None:
    async def scenario() -> None:
        one = ways.account(1, down_kbps=5000)
        async with carried.running(tmp_path, ways.PLAIN, one, 2) as lab:
            wanted = carried.served(ways.PLAIN, lab.port, one, 2)
            await lab.driver.leave()
            async with rig.driven(lab.chosen) as successor:
                adopted = await successor.adopt(wanted)
                assert adopted is not None
                steps = plan.difference(wanted, adopted.served)
                assert (steps.leaving, steps.joining) == ((), ())

    carried.run(scenario)


def test_rates_are_kept_again_after_somebody_emptied_the_packet_filter(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with (
            carried.running(tmp_path, ways.WEBSOCKET, ways.account(1, up_kbps=1000)) as lab,
            lab.client(1) as client,
        ):
            nft.run("flush ruleset\n")
            async with client.tunnel() as tunnel:
                assert await tunnel.get("/bytes/10") == 10
                await rig.until(lambda: _are_limited(lab, 1))

    carried.run(scenario)


async def _are_limited(lab: carried.Lab, count: int) -> bool:
    return bool(nft.tables()) and len(_limited(lab, "up4")) == count


def _limited(lab: carried.Lab, name: str) -> list[str]:
    table = barrier.table_name(lab.chosen.run_dir, "rate")
    said = subprocess.run(
        ["nft", "list", "map", "inet", table, name], capture_output=True, text=True, check=True
    )
    return re.findall(r"tcp \. \d+", said.stdout)


def test_another_rate_is_no_reason_to_cut() -> None:
    slow, fast = (ways.account(1, up_kbps=rate) for rate in (1, 2))
    other = msgspec.structs.replace(fast, uuid=ways.credential(9))
    running = carried.served(ways.PLAIN, 1, slow)
    steps = plan.difference(carried.served(ways.PLAIN, 1, fast), running)
    assert (steps.leaving, steps.joining) == ((), (fast,))
    steps = plan.difference(carried.served(ways.PLAIN, 1, other), running)
    assert (steps.leaving, steps.joining) == ((rig.meter(1),), (other,))
