"""Who is over quota is out at once and stays out; his neighbour notices nothing."""

import asyncio
import json
import logging
from collections.abc import Sequence
from pathlib import Path

import pytest

from agent.core.counting import Meter
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


def test_a_user_over_quota_is_cut_by_the_answer_and_his_neighbour_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        collector.quotas[ALICE.user] = 100
        async with fleet.node(tmp_path, collector, driver) as node:
            await SyncLoop(node).compare_once()
            driver.traffic(ALICE, 0, 101)
            driver.traffic(BOB, 0, 101)
            await MeterLoop(node).once()
            before = len(driver.calls)
            await ReportLoop(node).once()
            assert driver.calls[before:] == ["block", "read", "cut"]
            assert not driver.traffic(ALICE, 0, 1)
            assert driver.traffic(BOB, 0, 1)
            assert ALICE not in driver.connections

    with caplog.at_level(logging.INFO):
        asyncio.run(scenario())
    [cut] = [record for record in caplog.records if record.message == "user_cut"]
    fields = vars(cut)["fields"]
    assert (fields["users"], fields["ended"], fields["left"]) == ([1], 1, False)
    assert 0 <= fields["since_reading_ms"] < 5000


def test_a_stopped_user_stays_stopped_over_a_restart_while_the_collector_is_away(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        collector.quotas[ALICE.user] = 100
        async with fleet.node(tmp_path, collector, driver) as node:
            await SyncLoop(node).compare_once()
            driver.traffic(ALICE, 0, 101)
            await MeterLoop(node).once()
            await ReportLoop(node).once()
        collector.away = True
        driver.crash()
        async with fleet.node(tmp_path, collector, driver):
            assert not driver.traffic(ALICE, 0, 1)
            assert driver.traffic(BOB, 0, 1)

    asyncio.run(scenario())


def test_bytes_between_the_last_reading_and_the_cut_are_billed(tmp_path: Path) -> None:
    class Busy(MemoryDriver):
        async def block(self, meters: Sequence[Meter]) -> dict[Meter, str]:
            self.traffic(ALICE, 0, 7)
            return await super().block(meters)

    async def scenario() -> None:
        collector, driver = staffed(), Busy()
        collector.quotas[ALICE.user] = 100
        async with fleet.node(tmp_path, collector, driver) as node:
            await SyncLoop(node).compare_once()
            driver.traffic(ALICE, 0, 101)
            await MeterLoop(node).once()
            report = ReportLoop(node)
            await report.once()
            await report.once()
        assert collector.billed(1) == 108

    asyncio.run(scenario())


def test_log_fields_can_be_written_as_json(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        collector.quotas[ALICE.user] = 1
        async with fleet.node(tmp_path, collector, driver) as node:
            await SyncLoop(node).compare_once()
            driver.traffic(ALICE, 5, 0)
            await MeterLoop(node).once()
            await ReportLoop(node).once()

    with caplog.at_level(logging.INFO):
        asyncio.run(scenario())
    assert all(json.dumps(vars(record).get("fields", {})) for record in caplog.records)
