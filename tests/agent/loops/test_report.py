"""From the ledger to the bill: lost, repeated and reordered reports leave it as it must be."""

import asyncio
import random
from pathlib import Path

import pytest

from agent.core.counting import Meter
from agent.drivers.memory import MemoryDriver
from agent.link import LinkError
from agent.loops.meter import MeterLoop
from agent.loops.report import ReportLoop
from agent.loops.sync import SyncLoop
from shared.messages import Quarantined
from shared.names import EndpointId, UserId
from tests.agent import fleet

ALICE, BOB = Meter(UserId(1), EndpointId(1)), Meter(UserId(2), EndpointId(1))


def staffed() -> fleet.Collector:
    collector = fleet.Collector()
    collector.want(fleet.endpoint(), fleet.account(1), fleet.account(2))
    return collector


def test_a_lost_reply_bills_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            await SyncLoop(node).compare_once()
            meter, report = MeterLoop(node), ReportLoop(node)
            driver.traffic(ALICE, 0, 100)
            await meter.once()
            collector.lost_replies = 1
            with pytest.raises(LinkError):
                await report.once()
            driver.traffic(ALICE, 0, 10)
            await meter.once()
            await report.once()
        assert len(collector.reports) == 2
        assert collector.billed(1) == 110

    asyncio.run(scenario())


def test_reports_replayed_in_any_order_change_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            await SyncLoop(node).compare_once()
            meter, report = MeterLoop(node), ReportLoop(node)
            for n in range(1, 8):
                driver.traffic(ALICE, n, 10 * n)
                driver.traffic(BOB, 1, 0)
                await meter.once()
                await report.once()
        bill = dict(collector.totals)
        replayed = collector.reports * 3
        random.Random(7).shuffle(replayed)
        for each in replayed:
            collector.merge(each)
        assert collector.totals == bill
        assert collector.billed(1) == 11 * 28

    asyncio.run(scenario())


def test_an_outage_costs_one_report_of_newest_totals(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            await SyncLoop(node).compare_once()
            meter, report = MeterLoop(node), ReportLoop(node)
            collector.away = True
            for _ in range(50):
                driver.traffic(ALICE, 1, 1)
                await meter.once()
                with pytest.raises(LinkError):
                    await report.once()
            collector.away = False
            await report.once()
        assert [list(r.rows) for r in collector.reports] == [[fleet.usage(1, 50, 50)]]

    asyncio.run(scenario())


def test_only_changed_totals_are_told_and_everything_once_after_a_start(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            await SyncLoop(node).compare_once()
            meter, report = MeterLoop(node), ReportLoop(node)
            driver.traffic(ALICE, 1, 0)
            driver.traffic(BOB, 1, 0)
            await meter.once()
            await report.once()
            driver.traffic(BOB, 1, 0)
            await meter.once()
            await report.once()
        async with fleet.node(tmp_path, collector, driver) as node:
            await ReportLoop(node).once()
        told = [sorted(row.user for row in each.rows) for each in collector.reports]
        assert told == [[1, 2], [2], [1, 2]]

    asyncio.run(scenario())


def test_many_totals_go_in_several_reports(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = fleet.Collector(), MemoryDriver()
        collector.want(fleet.endpoint(), *(fleet.account(user) for user in range(1, 26)))
        async with fleet.node(tmp_path, collector, driver) as node:
            await SyncLoop(node).compare_once()
            for user in range(1, 26):
                driver.traffic(Meter(UserId(user), EndpointId(1)), user, 0)
            await MeterLoop(node).once()
            await ReportLoop(node, rows=10).flush()
        assert [len(each.rows) for each in collector.reports] == [10, 10, 5]
        assert all(collector.billed(user) == user for user in range(1, 26))

    asyncio.run(scenario())


def test_a_quarantined_row_is_logged_and_not_sent_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        collector.quarantined = [Quarantined(row=0, reason="faster than any link")]
        async with fleet.node(tmp_path, collector, driver) as node:
            await SyncLoop(node).compare_once()
            driver.traffic(ALICE, 1, 0)
            await MeterLoop(node).once()
            await ReportLoop(node).flush()
        assert len(collector.reports) == 1

    asyncio.run(scenario())
    assert "row_quarantined" in [record.message for record in caplog.records]


def test_a_cancelled_report_is_told_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            await SyncLoop(node).compare_once()
            driver.traffic(ALICE, 5, 0)
            await MeterLoop(node).once()
            report = ReportLoop(node)
            collector.silent = asyncio.Event()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await report.once()
            collector.silent = None
            await report.once()
        assert collector.billed(1) == 5

    asyncio.run(scenario())


def test_a_restored_collector_is_told_everything_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            sync, report = SyncLoop(node), ReportLoop(node)
            await sync.compare_once()
            driver.traffic(ALICE, 0, 100)
            await MeterLoop(node).once()
            await report.once()
            collector.totals.clear()
            collector.away = True
            with pytest.raises(LinkError):
                await sync.once()
            collector.away = False
            await sync.once()
            await report.once()
        assert collector.billed(1) == 100

    asyncio.run(scenario())
