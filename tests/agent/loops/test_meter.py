"""From the counters to the ledger, whatever dies or is full in between."""

import asyncio
import sqlite3
from pathlib import Path

from agent import ledger
from agent.core.counting import Meter
from agent.drivers.base import DriverError
from agent.drivers.memory import MemoryDriver
from agent.loops.meter import MeterLoop
from agent.loops.report import ReportLoop
from agent.loops.sync import SyncLoop
from shared.names import EndpointId, UserId
from tests.agent import fleet

ALICE, BOB = Meter(UserId(1), EndpointId(1)), Meter(UserId(2), EndpointId(1))


def staffed() -> fleet.Collector:
    collector = fleet.Collector()
    collector.want(fleet.endpoint(), fleet.account(1), fleet.account(2))
    return collector


def test_bytes_travel_from_the_counter_to_the_bill(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            await SyncLoop(node).compare_once()
            driver.traffic(ALICE, 3, 5)
            await MeterLoop(node).once()
            await ReportLoop(node).once()
        assert collector.billed(1) == 8

    asyncio.run(scenario())


def test_an_agent_that_was_killed_goes_on_counting_where_it_was(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            await SyncLoop(node).compare_once()
            driver.traffic(ALICE, 10, 0)
            await MeterLoop(node).once()
            driver.traffic(ALICE, 5, 0)
        starts = driver.calls.count("start")
        async with fleet.node(tmp_path, collector, driver) as node:
            driver.traffic(ALICE, 1, 0)
            await MeterLoop(node).once()
            await ReportLoop(node).once()
        assert driver.calls.count("start") == starts
        assert collector.billed(1) == 16

    asyncio.run(scenario())


def test_a_lost_state_directory_bills_no_byte_of_the_running_core_twice(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        (tmp_path / "a").mkdir()
        (tmp_path / "b").mkdir()
        async with fleet.node(tmp_path / "a", collector, driver) as node:
            await SyncLoop(node).compare_once()
            driver.traffic(ALICE, 10, 0)
            await MeterLoop(node).once()
            await ReportLoop(node).once()
        async with fleet.node(tmp_path / "b", collector, driver) as node:
            await SyncLoop(node).compare_once()
            driver.traffic(ALICE, 1, 0)
            await MeterLoop(node).once()
            await ReportLoop(node).once()
        assert collector.billed(1) == 11

    asyncio.run(scenario())


def test_a_user_who_is_not_served_but_still_counts_is_cut_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            sync, meter = SyncLoop(node), MeterLoop(node)
            await sync.compare_once()
            driver.traffic(ALICE, 1, 0)
            await meter.once()
            collector.drop("account/1/1")
            await sync.once()
            driver.connections[ALICE] = 1
            driver.traffic(ALICE, 1, 0)
            await meter.once()
            assert ALICE not in driver.connections

    asyncio.run(scenario())


def test_a_ledger_that_cannot_be_written_is_shown_and_loses_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            await SyncLoop(node).compare_once()
            connection = sqlite3.connect(tmp_path / ledger.FILE_NAME, isolation_level=None)
            node.ledger = ledger.Ledger(connection, tmp_path / ledger.FILE_NAME)
            meter = MeterLoop(node)
            connection.execute("PRAGMA query_only = ON")
            driver.traffic(ALICE, 5, 0)
            assert await meter.once() <= node.pace.poll_s
            assert "free space" in node.problems["ledger"]
            assert not node.unreported
            connection.execute("PRAGMA query_only = OFF")
            await meter.once()
            await ReportLoop(node).once()
            assert not node.problems
            connection.close()
        assert collector.billed(1) == 5

    asyncio.run(scenario())


def test_a_core_that_does_not_answer_delays_a_reading_and_loses_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            await SyncLoop(node).compare_once()
            meter = MeterLoop(node)
            driver.traffic(ALICE, 5, 0)
            driver.fail("read", DriverError("no answer within 2 s"))
            await meter.once()
            assert node.problems == {"reading memory": "no answer within 2 s"}
            await meter.once()
            assert not node.problems
            assert node.ledger.total(ALICE) == (5, 0)

    asyncio.run(scenario())
