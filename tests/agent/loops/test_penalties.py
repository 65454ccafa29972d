"""Who has a penalty is cut and refused while it lasts, and served again when it is over or lifted."""

import asyncio
import dataclasses
import ipaddress
from pathlib import Path

import pytest

from agent.core.counting import Meter
from agent.drivers.base import DriverError
from agent.drivers.memory import MemoryDriver
from agent.loops.meter import MeterLoop
from agent.loops.node import Node
from agent.loops.sync import SyncLoop
from shared.names import EndpointId, UserId
from tests.agent import fleet

ALICE, BOB = Meter(UserId(1), EndpointId(1)), Meter(UserId(2), EndpointId(1))
HOME = ipaddress.ip_address("198.51.100.7")
LONG_S = 3_600.0


def staffed() -> fleet.Collector:
    collector = fleet.Collector()
    collector.want(fleet.endpoint(), fleet.account(1), fleet.account(2))
    return collector


async def ready(node: Node, driver: MemoryDriver) -> SyncLoop:
    """A node that serves both, who are connected."""
    sync = SyncLoop(node)
    await sync.once()
    assert driver.connect(ALICE, HOME)
    assert driver.connect(BOB, HOME)
    return sync


async def until_served(node: Node, driver: MemoryDriver) -> None:
    async with asyncio.timeout(10):
        while not driver.traffic(ALICE, 1):
            await MeterLoop(node).once()
            await asyncio.sleep(0.005)


def test_a_penalty_blocks_reads_and_cuts_in_this_order_and_spares_the_neighbour(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            sync = await ready(node, driver)
            driver.traffic(ALICE, 7, 0)
            before = len(driver.calls)
            collector.penalise(u1=LONG_S)
            await sync.once()
            assert driver.calls[before:] == ["block", "read", "cut"]
            assert node.ledger.total(ALICE).up == 7
            assert not driver.traffic(ALICE, 1)
            assert driver.traffic(BOB, 1)
            assert ALICE not in driver.connections

    asyncio.run(scenario())


def test_a_waiting_poll_brings_a_penalty_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            sync = await ready(node, driver)
            async with asyncio.TaskGroup() as group, asyncio.timeout(3):
                poll = group.create_task(sync.once())
                await asyncio.sleep(0)
                collector.penalise(u1=LONG_S)
                await poll
            assert ALICE not in driver.connections

    asyncio.run(scenario())


def test_a_lifted_penalty_lets_the_user_back(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            sync = await ready(node, driver)
            collector.penalise(u1=LONG_S)
            await sync.once()
            collector.penalise()
            await sync.once()
            assert driver.traffic(ALICE, 1)

    asyncio.run(scenario())


def test_a_penalty_ends_by_the_node_s_own_clock_while_the_collector_is_away(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            sync = await ready(node, driver)
            collector.penalise(u1=0.2)
            await sync.once()
            assert not driver.traffic(ALICE, 1)
            collector.away = True
            await until_served(node, driver)

    asyncio.run(scenario())


def test_a_penalty_survives_a_new_core_and_a_change_of_the_state(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            sync = await ready(node, driver)
            collector.penalise(u1=LONG_S)
            await sync.once()
            collector.want(fleet.endpoint(2, port=444), fleet.account(1, on=2), fleet.account(3))
            await sync.once()
            assert driver.calls.count("place") == 2
            assert not driver.traffic(ALICE, 1)
            assert not driver.traffic(Meter(UserId(1), EndpointId(2)), 1)
            assert driver.traffic(BOB, 1)

    asyncio.run(scenario())


def test_an_agent_that_restarts_hears_of_the_penalty_with_its_first_poll(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            sync = await ready(node, driver)
            collector.penalise(u1=LONG_S)
            await sync.once()
        async with fleet.node(tmp_path, collector, driver) as node:
            assert driver.traffic(ALICE, 1)  # it is in memory only
            async with asyncio.timeout(3):
                await SyncLoop(node).once()
            assert not driver.traffic(ALICE, 1)

    asyncio.run(scenario())


def test_a_cut_that_the_core_refused_is_made_up_for_at_the_next_poll(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        at_once = dataclasses.replace(fleet.FAST, wait_s=0)
        async with fleet.node(tmp_path, collector, driver, at_once) as node:
            sync = await ready(node, driver)
            driver.fail("block", DriverError("the core did not answer within 10 s"))
            collector.penalise(u1=LONG_S)
            with pytest.raises(DriverError):
                await sync.once()
            await sync.once()
            assert not driver.traffic(ALICE, 1)

    asyncio.run(scenario())
