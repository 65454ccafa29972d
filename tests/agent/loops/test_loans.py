"""Leases at work: served under them, cut at their end, asked for, given back."""

import asyncio
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NoReturn

import pytest

from agent.core import leases
from agent.core.counting import Meter
from agent.drivers.base import Cut
from agent.drivers.memory import MemoryDriver
from agent.ledger import Ledger, LedgerError
from agent.loops.meter import MeterLoop
from agent.loops.report import ReportLoop
from agent.loops.sync import SyncLoop
from shared.messages import Lease
from shared.names import EndpointId, UserId
from tests.agent import fleet
from tests.agent.fleet import Collector

ALICE, BOB = Meter(UserId(1), EndpointId(1)), Meter(UserId(2), EndpointId(1))


def staffed(ceiling: int | None) -> Collector:
    """A collector with a limited user, who is lent up to a ceiling, and an unlimited one."""
    collector = Collector()
    collector.want(fleet.endpoint(), fleet.account(1, terms=1), fleet.account(2))
    if ceiling is not None:
        collector.leases[ALICE.user] = Lease(ALICE.user, 1, 10, ceiling)
    return collector


def test_a_limited_user_is_served_only_once_he_has_a_lease(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(100), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            await SyncLoop(node).compare_once()
            assert not driver.traffic(ALICE, 0, 1)
            assert driver.traffic(BOB, 0, 1)
            await ReportLoop(node).once()
            assert driver.traffic(ALICE, 0, 1)

    asyncio.run(scenario())


def test_the_end_of_a_lease_cuts_without_asking_anybody(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(100), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            await SyncLoop(node).compare_once()
            await ReportLoop(node).once()
            collector.away = True
            driver.traffic(ALICE, 40, 61)
            driver.traffic(BOB, 40, 61)
            before = len(driver.calls)
            await MeterLoop(node).once()
            assert driver.calls[before:] == ["read", "block", "read", "cut"]
            assert not driver.traffic(ALICE, 0, 1)
            assert driver.traffic(BOB, 0, 1)

    asyncio.run(scenario())


def test_one_byte_below_the_ceiling_is_served_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(100), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            await SyncLoop(node).compare_once()
            await ReportLoop(node).once()
            driver.traffic(ALICE, 0, 99)
            await MeterLoop(node).once()
            assert driver.traffic(ALICE, 0, 1)

    asyncio.run(scenario())


def test_a_renewal_brings_him_back_and_a_smaller_one_than_he_is_over_does_not(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(100), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            await SyncLoop(node).compare_once()
            report, meter = ReportLoop(node), MeterLoop(node)
            await report.once()
            driver.traffic(ALICE, 0, 150)
            await meter.once()
            collector.leases[ALICE.user] = Lease(ALICE.user, 1, 10, 140)
            await report.once()
            assert not driver.traffic(ALICE, 0, 1)
            collector.leases[ALICE.user] = Lease(ALICE.user, 1, 10, 200)
            node.loans.barred[ALICE.user] = 0.0
            await report.once()
            assert driver.traffic(ALICE, 0, 1)

    asyncio.run(scenario())


def test_leases_survive_a_restart_while_the_collector_is_away(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(100), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            await SyncLoop(node).compare_once()
            await ReportLoop(node).once()
            driver.traffic(ALICE, 0, 60)
            await MeterLoop(node).once()
        collector.away = True
        driver.crash()
        async with fleet.node(tmp_path, collector, driver) as node:
            assert driver.traffic(ALICE, 0, 39)
            await MeterLoop(node).once()
            assert driver.traffic(ALICE, 0, 1)
            await MeterLoop(node).once()
            assert not driver.traffic(ALICE, 0, 1)

    asyncio.run(scenario())


def test_what_an_idle_user_holds_beyond_his_spare_is_given_back_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "IDLE_S", -1.0)

    async def scenario() -> None:
        collector, driver = staffed(100), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            await SyncLoop(node).compare_once()
            report = ReportLoop(node)
            await report.once()
            driver.traffic(ALICE, 0, 20)
            await MeterLoop(node).once()
            collector.leases.clear()
            await report.once()
            assert collector.reports[-1].returned == [Lease(ALICE.user, 1, 10, 30)]
            driver.traffic(BOB, 0, 1)
            await MeterLoop(node).once()
            await report.once()
            assert collector.reports[-1].returned == []

    asyncio.run(scenario())


def test_a_return_is_repeated_until_it_was_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "IDLE_S", -1.0)

    async def scenario() -> None:
        collector, driver = staffed(100), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            await SyncLoop(node).compare_once()
            report = ReportLoop(node)
            await report.once()
            collector.leases.clear()
            driver.traffic(ALICE, 0, 20)
            await MeterLoop(node).once()
            collector.lost_replies = 1
            with pytest.raises(Exception, match="in time"):
                await report.once()
            await report.once()
            assert [one.returned for one in collector.reports[-2:]] == [[Lease(ALICE.user, 1, 10, 30)]] * 2
            assert collector.reports[-1].sequence > collector.reports[-2].sequence

    asyncio.run(scenario())


def test_new_terms_void_the_lease_and_return_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(100), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            sync, report = SyncLoop(node), ReportLoop(node)
            await sync.compare_once()
            await report.once()
            collector.leases.clear()
            collector.want(fleet.account(1, terms=2))
            await sync.compare_once()
            assert not driver.traffic(ALICE, 0, 1)
            await report.once()
            assert collector.reports[-1].returned == [Lease(ALICE.user, 1, 10, 0)]
            assert collector.reports[-1].unleased == [ALICE.user]

    asyncio.run(scenario())


def test_a_user_who_leaves_the_node_leaves_no_lease_behind(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(100), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            sync, report = SyncLoop(node), ReportLoop(node)
            await sync.compare_once()
            await report.once()
            collector.drop("account/1/1")
            await sync.compare_once()
            await report.once()
            assert collector.reports[-1].returned == [Lease(ALICE.user, 1, 10, 0)]
            assert not node.ledger.leases

    asyncio.run(scenario())


def test_a_node_that_nobody_answers_for_a_day_serves_no_limited_user(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(100), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            await SyncLoop(node).compare_once()
            await ReportLoop(node).once()
            node.ledger.answered_boot_s -= leases.TERM_S
            await MeterLoop(node).once()
            assert not driver.traffic(ALICE, 0, 1)
            assert driver.traffic(BOB, 0, 1)
            await ReportLoop(node).once()
            await MeterLoop(node).once()
            assert driver.traffic(ALICE, 0, 1)

    asyncio.run(scenario())


def test_a_full_disk_is_no_way_around_a_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> NoReturn:
        raise LedgerError("the disk is full")

    async def scenario() -> None:
        collector, driver = staffed(100), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            await SyncLoop(node).compare_once()
            await ReportLoop(node).once()
            monkeypatch.setattr(Ledger, "book", full)
            driver.traffic(ALICE, 0, 101)
            driver.traffic(BOB, 0, 101)
            await MeterLoop(node).once()
            assert not driver.traffic(ALICE, 0, 1)
            assert driver.traffic(BOB, 0, 1)
            monkeypatch.undo()
            await MeterLoop(node).once()
            assert node.ledger.total(ALICE).down == 101

    asyncio.run(scenario())


def test_a_node_restored_from_a_backup_says_so_and_is_heard_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(100), MemoryDriver()
        collector.epoch_seen = 7
        async with fleet.node(tmp_path, collector, driver) as node:
            await SyncLoop(node).compare_once()
            await ReportLoop(node).once()
            assert node.ledger.epoch == 8
            assert [one.kind for one in node.ledger.incidents()] == ["state_restored"]
            driver.traffic(BOB, 0, 1)
            await MeterLoop(node).once()
            await ReportLoop(node).once()
            assert collector.reports[-1].epoch == 8
            assert len(node.ledger.incidents()) == 1

    asyncio.run(scenario())


def test_an_agent_that_takes_a_core_over_cuts_no_limited_user(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(100), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            await SyncLoop(node).compare_once()
            await ReportLoop(node).once()
            driver.traffic(ALICE, 0, 5)
        driver.calls.clear()
        async with fleet.node(tmp_path, collector, driver) as node:
            await SyncLoop(node).compare_once()
            assert not {"block", "cut", "start", "stop"} & set(driver.calls)

    asyncio.run(scenario())


def test_whoever_moves_bytes_after_a_recall_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "RECALL_IDLE_S", -1.0)

    async def scenario() -> None:
        collector, driver = staffed(100), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            await SyncLoop(node).compare_once()
            report = ReportLoop(node)
            await report.once()
            collector.leases.clear()
            node.give_back([ALICE.user])
            await report.once()
            assert collector.reports[-1].returned == [Lease(ALICE.user, 1, 10, 0)]
            driver.traffic(ALICE, 0, 5)
            await MeterLoop(node).once()
            assert not driver.traffic(ALICE, 0, 1)

    asyncio.run(scenario())


class SlowToCut(MemoryDriver):
    """A cut takes until something has happened."""

    def __init__(self) -> None:
        super().__init__()
        self.happened = asyncio.Event()

    async def cut(self, meters: Sequence[Meter]) -> Cut:
        await self.happened.wait()
        return await super().cut(meters)


def test_a_renewal_that_lands_while_he_is_being_cut_brings_him_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        collector, driver = staffed(100), SlowToCut()
        async with fleet.node(tmp_path, collector, driver) as node:
            await SyncLoop(node).compare_once()
            report = ReportLoop(node)
            await report.once()
            driver.traffic(ALICE, 0, 150)
            collector.leases[ALICE.user] = Lease(ALICE.user, 1, 10, 1_000)
            lend = Ledger.lend

            def lent(
                book: Ledger, leases: Collection[Lease], gone: Collection[UserId], serial: int = 0
            ) -> None:
                lend(book, leases, gone, serial)
                if leases:
                    driver.happened.set()

            monkeypatch.setattr(Ledger, "lend", lent)
            async with asyncio.timeout(5), asyncio.TaskGroup() as group:
                group.create_task(MeterLoop(node).once())
                group.create_task(report.once())
            assert driver.traffic(ALICE, 0, 1)

    asyncio.run(scenario())
