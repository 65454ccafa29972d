"""The whole agent against a collector and a core in memory: breach, outage, revocation, orderly stop."""

import asyncio
import contextlib
import itertools
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from agent import ledger, main
from agent.core.counting import Counts, Meter, Reading
from agent.drivers.base import DriverError
from agent.drivers.memory import MemoryDriver
from agent.loops import pace
from agent.loops.node import Core, Node
from shared.names import EndpointId, UserId
from tests.agent import fleet

ALICE, BOB = Meter(UserId(1), EndpointId(1)), Meter(UserId(2), EndpointId(1))


def staffed() -> fleet.Collector:
    collector = fleet.Collector()
    collector.want(fleet.endpoint(), fleet.account(1), fleet.account(2))
    return collector


@contextlib.asynccontextmanager
async def agent(folder: Path, collector: fleet.Collector, driver: MemoryDriver) -> AsyncIterator[Node]:
    """An agent that lives as long as the block and is stopped in order after it."""
    link = fleet.linked(collector)
    book = ledger.open_ledger(folder / ledger.FILE_NAME)
    node = Node(cores=[Core(driver)], ledger=book, link=link, pace=fleet.FAST, holding=book.held)
    stopping = asyncio.Event()
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(main.live(node, stopping))
            try:
                yield node
            finally:
                stopping.set()
    finally:
        book.close()
        await link.close()


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not what():  # noqa: ASYNC110 - what is waited for has no event of its own
            await asyncio.sleep(0.002)


def test_a_user_over_quota_is_cut_and_stays_out_while_his_neighbour_goes_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        collector.quotas[ALICE.user] = 1000
        async with agent(tmp_path, collector, driver):
            await until(lambda: driver.traffic(ALICE, 400))
            driver.traffic(BOB, 5000)
            await until(lambda: collector.billed(1) == 400)
            driver.traffic(ALICE, 700)
            await until(lambda: not driver.traffic(ALICE))
            await until(lambda: "account/1/1" in collector.outcomes and collector.generation == 2)
            assert driver.traffic(BOB, 1)
            collector.quotas[ALICE.user] = 10_000
            collector.want(fleet.account(1))
            await until(lambda: driver.traffic(ALICE, 1))
        assert collector.billed(1) == 1101

    asyncio.run(scenario())


def test_an_orderly_stop_reads_last_stops_the_core_and_reports_once_more(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with agent(tmp_path, collector, driver):
            await until(lambda: driver.traffic(ALICE, 1))
            driver.traffic(ALICE, 41)
        assert collector.billed(1) == 42
        assert [call for call in driver.calls if call != "status"][-3:] == ["cut_all", "read", "stop"]

    asyncio.run(scenario())


def test_an_orderly_stop_ends_although_the_collector_is_away(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with agent(tmp_path, collector, driver):
            await until(lambda: driver.traffic(ALICE, 1))
            collector.away = True
            driver.traffic(ALICE, 41)
        collector.away = False
        async with agent(tmp_path, collector, driver):
            await until(lambda: collector.billed(1) == 42)

    asyncio.run(scenario())


def test_an_outage_of_the_collector_loses_nothing_and_serves_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with agent(tmp_path, collector, driver) as node:
            await until(lambda: driver.traffic(ALICE, 1))
            collector.away = True
            for _ in range(20):
                assert driver.traffic(ALICE, 5)
                await asyncio.sleep(0)
            await until(lambda: node.ledger.total(ALICE) == (101, 0))
            assert collector.billed(1) <= 101
            collector.away = False
            collector.want(fleet.account(3))
            await until(lambda: collector.billed(1) == 101)
            await until(lambda: driver.traffic(Meter(UserId(3), EndpointId(1)), 1))

    asyncio.run(scenario())


def test_a_crash_of_the_core_is_mended_and_told(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with agent(tmp_path, collector, driver):
            await until(lambda: driver.traffic(ALICE, 1))
            await until(lambda: collector.billed(1) == 1)
            driver.crash("ended by signal 11")
            await until(lambda: driver.traffic(ALICE, 1))
            told = itertools.chain.from_iterable
            await until(
                lambda: any(
                    i.detail == "ended by signal 11" for i in told(b.incidents for b in collector.beats)
                )
            )
        assert collector.billed(1) == 2

    asyncio.run(scenario())


def test_a_core_that_cannot_start_does_not_end_the_agent(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        driver.fail("start", *(DriverError("the port is taken") for _ in range(3)))
        async with agent(tmp_path, collector, driver):
            await until(lambda: driver.traffic(ALICE, 1))

    asyncio.run(scenario())


def test_a_revoked_node_serves_nobody_not_even_after_a_restart_until_it_is_owned_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "REVOKED_RETRY_S", 0.05)

    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with agent(tmp_path, collector, driver) as node:
            await until(lambda: driver.traffic(ALICE, 7))
            collector.revoked = True
            collector.wake()
            await until(lambda: node.holding.revoked and not driver.traffic(ALICE, 1))
            assert node.ledger.total(ALICE) == (7, 0)
        collector.away = True
        async with agent(tmp_path, collector, driver) as node:
            await until(lambda: "stop" in driver.calls)
            assert not driver.traffic(ALICE, 1)
            collector.away = collector.revoked = False
            await until(lambda: driver.traffic(ALICE, 1))
        assert collector.billed(1) == 8

    asyncio.run(scenario())


def test_an_answer_of_a_middle_box_does_not_end_the_service(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with agent(tmp_path, collector, driver) as node:
            await until(lambda: driver.traffic(ALICE, 7))
            page = fleet.said(403, b"<h1>blocked</h1>")
            collector.instead.extend([page] * 10)
            driver.traffic(ALICE, 1)
            await until(lambda: collector.billed(1) == 8)
            assert not node.holding.revoked

    asyncio.run(scenario())


def test_a_core_whose_counters_cannot_be_kept_is_left_for_the_next_agent(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Full(ledger.Ledger):
        """Refuses once the test says so."""

        full = False

        def book(self, reading: Reading, at_ms: int) -> Counts:
            if self.full:
                raise ledger.LedgerError("the disk is full")
            return super().book(reading, at_ms)

    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with agent(tmp_path, collector, driver) as node:
            await until(lambda: driver.traffic(ALICE, 7))
            connection = sqlite3.connect(tmp_path / ledger.FILE_NAME, isolation_level=None)
            node.ledger = full = Full(connection, tmp_path / ledger.FILE_NAME)
            full.full = True
            driver.traffic(ALICE, 5)
            before = driver.calls.count("stop")
        assert driver.calls.count("stop") == before
        connection.close()
        async with agent(tmp_path, collector, driver):
            await until(lambda: collector.billed(1) == 12)

    with caplog.at_level(logging.ERROR):
        asyncio.run(scenario())
    assert "core_left_running" in [record.message for record in caplog.records]
