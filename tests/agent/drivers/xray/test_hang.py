"""A real Xray that hangs: its users are cut, and it is replaced in seconds."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent import ledger
from agent.core.periods import Pace
from agent.drivers import base
from agent.drivers.xray import driver, sockets
from agent.loops import serving
from agent.loops.heal import HealLoop
from agent.loops.meter import MeterLoop
from agent.loops.node import Core, Node
from agent.loops.sync import SyncLoop
from tests.agent import fleet
from tests.agent.drivers.xray import rig
from tests.kit import programs, source

REFUSAL = sockets.refusal()

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(REFUSAL is not None, reason=f"connections cannot be cut here: {REFUSAL}"),
]


@contextlib.asynccontextmanager
async def staffed(path: Path, made: driver.XrayDriver, port: int, uuid: str) -> AsyncIterator[Node]:
    """A node that serves user 1 on endpoint 1."""
    collector = fleet.Collector()
    collector.want(fleet.endpoint(port=port), rig.account(1, uuid))
    link, book = fleet.linked(collector), ledger.open_ledger(path / ledger.FILE_NAME)
    try:
        node = Node(cores=[Core(made)], ledger=book, link=link, pace=Pace(), holding=book.held)
        await serving.boot(node)
        await SyncLoop(node).once()
        yield node
    finally:
        book.close()
        await link.close()


def test_users_of_a_core_that_hangs_are_cut_and_it_can_be_replaced(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig.running(tmp_path, 1, 2) as lab, lab.tunnel(1) as one, lab.tunnel(2) as idle:
            assert await idle.get("/bytes/10") == 10
            await one.request("/bytes/50000000?rate=2000000")
            programs.suspend(rig.host_pid(tmp_path))
            async with asyncio.timeout(2):
                assert await lab.driver.cut_all() == base.Cut(2, left=False)
                await one.ended()
                await idle.ended()
            async with asyncio.timeout(5):
                await lab.driver.stop()
                await lab.driver.start(rig.serving(lab.port, lab.accounts[1]))
            assert await lab.works(1)

    asyncio.run(scenario())


def test_a_core_that_hangs_serves_again_well_within_ten_seconds(tmp_path: Path) -> None:
    async def scenario() -> None:
        port, account = rig.free_port(), rig.account(1)
        chosen = rig.choose(tmp_path)
        with rig.locked(chosen.lock_file), source.Source() as bytes_from:
            async with rig.driven(chosen) as made, staffed(tmp_path, made, port, account.uuid) as node:
                assert await rig.fetches(port, account.uuid, bytes_from.port)
                async with asyncio.TaskGroup() as group:
                    running = (MeterLoop(node), HealLoop(node, node.cores[0]))
                    loops = [group.create_task(loop.run()) for loop in running]
                    programs.suspend(rig.host_pid(tmp_path))
                    await rig.until(lambda: _serves(port, account.uuid, bytes_from.port), within_s=9)
                    for loop in loops:
                        loop.cancel()
                assert [each.kind for each in node.ledger.incidents()] == ["core_hanging"]

    asyncio.run(scenario())


async def _serves(port: int, uuid: str, source_port: int) -> bool:
    try:
        async with asyncio.timeout(0.5):
            return await rig.fetches(port, uuid, source_port)
    except (TimeoutError, OSError):
        return False
