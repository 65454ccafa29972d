"""A heartbeat says how the node is, and incidents until they are seen."""

import asyncio
from pathlib import Path

from agent.core.counting import Meter
from agent.drivers.memory import MemoryDriver
from agent.loops.heartbeat import HeartbeatLoop, Octets, bandwidth
from agent.loops.node import Node
from agent.loops.sync import SyncLoop
from shared.names import EndpointId, UserId
from tests.agent import fleet

ALICE = Meter(UserId(1), EndpointId(1))


def staffed() -> fleet.Collector:
    collector = fleet.Collector()
    collector.want(fleet.endpoint(), fleet.account(1))
    return collector


def incidents(node: Node) -> list[tuple[str, str]]:
    return [(each.kind, each.detail) for each in node.ledger.incidents()]


def test_a_heartbeat_tells_how_the_node_is(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        driver.limitations = ("connections cannot be cut: CAP_NET_ADMIN is missing",)
        async with fleet.node(tmp_path, collector, driver) as node:
            await SyncLoop(node).once()
            node.trouble("ledger", "the disk is full")
            beat = HeartbeatLoop(node)
            node.unwell.set()
            await beat.once()
            node.unwell.set()
            await beat.once()
            assert node.ledger.fact("last_contact_ms") is not None
        first, second = collector.beats
        assert first.core_running
        assert first.core_version == "memory"
        assert first.generation == 1
        assert first.limitations == [*driver.limitations, "the disk is full"]
        assert first.latency_ms == 0
        assert second.latency_ms > 0
        assert second.memory_percent > 0

    asyncio.run(scenario())


def test_incidents_are_told_until_they_are_seen(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            beat = HeartbeatLoop(node)
            node.incident("core_exited", "ended by signal 9")
            await beat.once()
            node.unwell.set()
            collector.incidents_seen = collector.beats[0].incidents[0].number
            await beat.once()
            node.unwell.set()
            await beat.once()
        assert [len(each.incidents) for each in collector.beats] == [1, 1, 0]

    asyncio.run(scenario())


def test_bandwidth_is_bits_per_second_and_never_negative() -> None:
    before = Octets(at_s=10.0, received=1000, sent=500)
    assert bandwidth(before, Octets(at_s=12.0, received=3000, sent=500)) == (8000, 0)
    assert bandwidth(before, Octets(at_s=12.0, received=0, sent=0)) == (0, 0)
