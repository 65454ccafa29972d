"""Who shares a port with the core is told of once, and shown until he is gone."""

import asyncio
from pathlib import Path

from agent.drivers.memory import MemoryDriver
from agent.loops.intruders import IntrudersLoop
from agent.loops.sync import SyncLoop
from tests.agent import fleet


def test_an_intruder_is_one_incident_and_a_problem_until_he_is_gone(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = fleet.Collector(), MemoryDriver()
        collector.want(fleet.endpoint())
        async with fleet.node(tmp_path, collector, driver) as node:
            await SyncLoop(node).once()
            loop, calls = IntrudersLoop(node, node.cores[0], check_s=3), list(driver.calls)
            assert await loop.once() == 3
            seen = []
            for shared in ({443}, {443}, set(), {443}):
                driver.shared_ports = shared
                await loop.once()
                seen.append((list(node.problems), len(node.ledger.incidents())))
            assert seen == [(["port/1"], 1), (["port/1"], 1), ([], 1), (["port/1"], 2)]
            assert driver.calls == calls

    asyncio.run(scenario())
