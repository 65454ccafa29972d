"""A collector that may have forgotten asks what is held here, and is told of everybody."""

import asyncio
from pathlib import Path

import pytest

from agent.core import leases
from agent.core.counting import Meter
from agent.drivers.memory import MemoryDriver
from agent.link import LinkError
from agent.loops.meter import MeterLoop
from agent.loops.report import ReportLoop
from agent.loops.sync import SyncLoop
from shared.messages import Lease, Report
from shared.names import EndpointId, UserId
from tests.agent import fleet
from tests.agent.fleet import Collector

ADA, BOB, EVE = (Meter(UserId(number), EndpointId(1)) for number in (1, 2, 3))


def staffed() -> Collector:
    """A collector with two limited users, to each of whom a hundred bytes are lent, and an unlimited one."""
    collector = Collector(serial=7)
    collector.want(fleet.endpoint(), fleet.account(1, terms=1), fleet.account(2, terms=1), fleet.account(3))
    collector.leases = {one.user: Lease(one.user, 1, 10, 100) for one in (ADA, BOB)}
    return collector


def told(report: Report) -> tuple[list[tuple[int, int | None]], int, int]:
    return [(lease.user, lease.total) for lease in report.held], report.held_after, report.untold


def test_the_serial_is_kept_with_the_leases_and_said_in_every_report(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector = staffed()
        async with fleet.node(tmp_path, collector, MemoryDriver()) as node:
            await SyncLoop(node).compare_once()
            await ReportLoop(node).once()
            assert collector.reports[-1].serial == 0
        async with fleet.node(tmp_path, collector, MemoryDriver()) as node:
            node.tell_all()
            node.loans.barred[ADA.user] = 0.0
            await ReportLoop(node).once()
            assert collector.reports[-1].serial == 7

    asyncio.run(scenario())


def test_leases_that_are_not_taken_leave_the_serial_as_it_was(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector = staffed()
        collector.leases = {ADA.user: Lease(ADA.user, 9, 10, 100)}
        async with fleet.node(tmp_path, collector, MemoryDriver()) as node:
            await SyncLoop(node).compare_once()
            await ReportLoop(node).once()
            assert node.ledger.serial == 0

    asyncio.run(scenario())


def test_a_node_that_is_asked_tells_of_everybody_part_by_part(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            await SyncLoop(node).compare_once()
            report, meter = ReportLoop(node, rows=2), MeterLoop(node)
            for _ in range(2):
                await report.once()
            driver.traffic(ADA, 0, 120)
            driver.traffic(EVE, 5, 6)
            await meter.once()
            collector.leases.clear()
            collector.learning = 44
            before = len(collector.reports)
            for _ in range(5):
                await report.once()
            asked, *parts = collector.reports[before:]
            assert asked.learning == 0
            assert [one.learning for one in parts] == [44] * 4
            # Whoever went over his lease is told as he is, and so is he who never had one.
            assert [told(one) for one in parts] == [
                ([(1, 120)], 0, 2),
                ([(2, 100)], 1, 1),
                ([(3, 11)], 2, 0),
                ([], 3, 0),
            ]
            assert {row.user for one in parts for row in one.rows} == {1, 3}
            collector.learning = 0
            await report.once()
            driver.traffic(BOB, 0, 1)
            await meter.once()
            await report.once()
            assert collector.reports[-1].learning == 0
            assert collector.reports[-1].held == []

    asyncio.run(scenario())


def test_a_part_is_told_again_until_it_was_answered(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector = staffed()
        async with fleet.node(tmp_path, collector, MemoryDriver()) as node:
            await SyncLoop(node).compare_once()
            report = ReportLoop(node, rows=2)
            for _ in range(2):
                await report.once()
            collector.learning = 44
            node.loans.barred[ADA.user] = 0.0
            await report.once()
            collector.lost_replies = 1
            with pytest.raises(LinkError):
                await report.once()
            await report.once()
            assert told(collector.reports[-1]) == told(collector.reports[-2]) == ([(1, 100)], 0, 1)
            await report.once()
            assert told(collector.reports[-1]) == ([(2, 100)], 1, 0)

    asyncio.run(scenario())


def test_another_question_is_answered_from_the_beginning(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector = staffed()
        async with fleet.node(tmp_path, collector, MemoryDriver()) as node:
            await SyncLoop(node).compare_once()
            report = ReportLoop(node, rows=2)
            for _ in range(2):
                await report.once()
            node.loans.barred[ADA.user] = 0.0
            for question in (44, 44, 55, 55):
                collector.learning = question
                await report.once()
            assert collector.reports[-1].learning == 55
            assert told(collector.reports[-1]) == ([(1, 100)], 0, 1)

    asyncio.run(scenario())


def test_nobody_is_cut_while_a_node_is_asked(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            await SyncLoop(node).compare_once()
            report, meter = ReportLoop(node), MeterLoop(node)
            await report.once()
            collector.leases.clear()
            collector.learning = 44
            for _ in range(3):
                driver.traffic(ADA, 0, 1)
                await meter.once()
                await report.once()
            assert not {"block", "cut"} & set(driver.calls)
            assert node.ledger.leases[ADA.user].total == 100

    asyncio.run(scenario())


def test_leases_that_outlived_their_term_are_given_up_before_anybody_answers(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            await SyncLoop(node).compare_once()
            report = ReportLoop(node)
            await report.once()
            driver.traffic(ADA, 0, 30)
            await MeterLoop(node).once()
            collector.leases.clear()
            node.ledger.answered_boot_s -= leases.TERM_S
            await report.once()
            returned = collector.reports[-1].returned
            assert sorted((one.user, one.total) for one in returned) == [(1, 30), (2, 0)]
            driver.traffic(BOB, 0, 1)
            await MeterLoop(node).once()
            assert not driver.traffic(BOB, 0, 1)

    asyncio.run(scenario())


def test_a_node_with_nothing_to_tell_reports_after_an_outage_and_hears_the_question(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector = Collector(learning=44)
        async with fleet.node(tmp_path, collector, MemoryDriver()) as node:
            report = ReportLoop(node)
            for _ in range(2):
                await report.once()
            assert [one.learning for one in collector.reports] == [0, 44]
            collector.learning = 0
            await report.once()
            await SyncLoop(node).compare_once()
            await report.once()
            assert [told(one) for one in collector.reports] == [([], 0, 0)] * 4

    asyncio.run(scenario())


def test_a_report_says_no_more_of_leases_than_fits(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector = staffed()
        async with fleet.node(tmp_path, collector, MemoryDriver()) as node:
            await SyncLoop(node).compare_once()
            report = ReportLoop(node, rows=2)
            await report.once()
            await report.once()
            assert [one.unleased for one in collector.reports] == [[1], [2]]
            collector.drop("account/1/1", "account/2/1")
            await SyncLoop(node).compare_once()
            await report.once()
            await report.once()
            assert [[lease.user for lease in one.returned] for one in collector.reports[-2:]] == [[1], [2]]
            assert not node.ledger.leases

    asyncio.run(scenario())
