"""A cut reaches everything that carries a user's bytes, and nothing of a neighbour's: real clients."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from agent.drivers import nft
from agent.drivers.xray import sockets
from tests.agent.drivers.xray import carried, rig, ways
from tests.kit import lab as places
from tests.kit import vless

REFUSAL = places.why_no_namespaces() or sockets.refusal() or nft.refusal()

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.netns,
    pytest.mark.skipif(REFUSAL is not None, reason=f"clients cannot be cut here: {REFUSAL}"),
]

ALL = ways.ON_TCP | ways.ON_UDP
#: What arrives within this time after a cut was under way before it.
_QUIET_S = 0.3


@pytest.mark.parametrize("way", ALL.values(), ids=ALL.keys())
def test_nothing_passes_after_a_cut_and_a_neighbour_at_the_same_address_notices_nothing(
    tmp_path: Path, way: ways.Way
) -> None:
    async def scenario() -> None:
        async with (
            carried.running(tmp_path, way, 1, 2) as lab,
            lab.client(1) as cut,
            lab.client(2) as neighbour,
            neighbour.tunnel() as lives,
            contextlib.AsyncExitStack() as streams,
        ):
            pulls = [await streams.enter_async_context(cut.tunnel()) for _ in range(3)]
            for pull in pulls:
                await pull.request("/bytes/500000000?rate=1000000")
                await pull.take()
            push = await streams.enter_async_context(cut.tunnel())
            await push.send(b"POST /sink HTTP/1.1\r\nContent-Length: 500000000\r\n\r\n")
            await lives.request("/bytes/500000000?rate=1000000")
            await rig.until(lambda: _all_heard(lab, 5))
            async with asyncio.TaskGroup() as group:
                pushing = group.create_task(_push(push))
                reading = [group.create_task(_drain(pull)) for pull in (*pulls, lives)]
                await rig.until(lambda: _pushed(lab, 1))
                await lab.cut(1)
                await asyncio.sleep(_QUIET_S)  # what was on its way may arrive
                pulled, pushed = [pull.taken for pull in pulls], lab.source.received["/sink"]
                counted = await _counted(lab)
                enough = lives.taken + 300_000
                await rig.until(lambda: _lives_on(lives, enough))
                assert [pull.taken for pull in pulls] == pulled
                assert lab.source.received["/sink"] == pushed
                assert await _counted(lab) == counted
                assert not await cut.works(within_s=1)
                assert await neighbour.works()
                for task in (pushing, *reading):
                    task.cancel()

    carried.run(scenario)


async def _all_heard(lab: carried.Lab, events: int) -> bool:
    return await lab.heard(events)


async def _lives_on(tunnel: vless.Tunnel, taken: int) -> bool:
    return tunnel.taken >= taken


async def _pushed(lab: carried.Lab, count: int) -> bool:
    return lab.source.received["/sink"] >= count


async def _counted(lab: carried.Lab) -> int:
    (reading,) = await lab.driver.read()
    count = reading.counts[rig.meter(1)]
    return count.up + count.down


async def _push(tunnel: vless.Tunnel) -> None:
    with contextlib.suppress(ConnectionError):
        while True:
            await tunnel.send(bytes(4096))
            await asyncio.sleep(0.005)


async def _drain(tunnel: vless.Tunnel) -> None:
    with contextlib.suppress(ConnectionError, vless.RefusedError):
        while await tunnel.take():
            continue
