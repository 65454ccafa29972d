"""Timers: how loops wait after a failure."""

import asyncio
from pathlib import Path

import pytest

from agent.core import backoff
from agent.drivers.memory import MemoryDriver
from agent.link import LinkError
from agent.loops import pace
from tests.agent import fleet
from tests.agent.fleet import Collector


def test_an_outage_ends_for_all_loops_once_one_of_them_gets_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backoff, "delay_s", lambda *_, **__: 3_600.0)

    async def scenario() -> None:
        collector = Collector(away=True)
        async with fleet.node(tmp_path, collector, MemoryDriver()) as node:
            tries = asyncio.Queue[None]()

            async def once() -> float:
                tries.put_nowait(None)
                await node.link.configs(0, 0)
                return 3_600.0

            async with asyncio.timeout(5), asyncio.TaskGroup() as group:
                loop = group.create_task(pace.forever(node, "tried", once))
                await tries.get()
                with pytest.raises(LinkError):
                    await node.link.configs(0, 0)
                collector.away = False
                await node.link.configs(0, 0)
                await tries.get()
                loop.cancel()

    asyncio.run(scenario())
