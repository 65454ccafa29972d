"""A clock that was set becomes an incident that says what it means."""

import asyncio
from pathlib import Path

import msgspec

from agent.core.clock import Moment
from agent.drivers.memory import MemoryDriver
from agent.loops import clock
from agent.loops.clock import ClockLoop
from agent.loops.sync import SyncLoop
from tests.agent import fleet


def test_each_jump_is_one_incident_and_nothing_is_restarted(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = fleet.Collector(), MemoryDriver()
        collector.want(fleet.endpoint())
        moments = [Moment(wall_ms=wall, boot_ms=boot) for wall, boot in ((0, 0), (10_000, 10_000))]
        moments += [
            Moment(wall_ms=wall, boot_ms=boot) for wall, boot in ((500_000, 20_000), (510_000, 30_000))
        ]
        async with fleet.node(tmp_path, collector, driver) as node:
            await SyncLoop(node).once()
            shown, calls = iter(moments), list(driver.calls)
            loop = ClockLoop(node, now=lambda: next(shown))
            for _ in range(3):
                await loop.once()
            (incident,) = node.ledger.incidents()
            assert incident.kind == "clock_jump"
            assert "set forward by 480 s" in incident.detail
            assert "VMess" not in incident.detail
            assert driver.calls == calls

    asyncio.run(scenario())


def test_a_node_with_vmess_is_told_what_its_clients_feel(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector = fleet.Collector()
        collector.want(msgspec.structs.replace(fleet.endpoint(), protocol="vmess"))
        moments = iter([Moment(wall_ms=200_000, boot_ms=0), Moment(wall_ms=0, boot_ms=0)])
        async with fleet.node(tmp_path, collector, MemoryDriver()) as node:
            await SyncLoop(node).once()
            await ClockLoop(node, now=lambda: next(moments)).once()
            (incident,) = node.ledger.incidents()
            assert "set back by 200 s" in incident.detail
            assert "VMess clients are refused" in incident.detail

    asyncio.run(scenario())


def test_the_clocks_of_this_machine_agree(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with fleet.node(tmp_path, fleet.Collector(), MemoryDriver()) as node:
            assert await ClockLoop(node, check_s=3).once() == 3
            assert node.ledger.incidents() == []

    asyncio.run(scenario())
    assert clock.moment().wall_ms > clock.moment().boot_ms
