"""A core that dies or hangs comes back with the last good state, and the collector hears of it."""

import asyncio
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pytest

from agent.core import heal
from agent.core.counting import Count, Meter, Reading
from agent.core.served import Status
from agent.drivers.base import DriverError
from agent.drivers.memory import MemoryDriver
from agent.ledger import LedgerError
from agent.loops import serving
from agent.loops.heal import HealLoop
from agent.loops.meter import MeterLoop
from agent.loops.node import Node
from agent.loops.report import ReportLoop
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


def test_a_core_that_died_comes_back_at_once_with_the_last_good_state(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            await SyncLoop(node).once()
            collector.away = True
            driver.traffic(ALICE, 10)
            await MeterLoop(node).once()
            driver.crash("the core was ended by signal 11")
            await HealLoop(node, node.cores[0], check_s=5).once()
            assert driver.traffic(ALICE, 1)
            await MeterLoop(node).once()
            assert node.ledger.total(ALICE) == (11, 0)
            assert incidents(node) == [("core_exited", "the core was ended by signal 11")]

    asyncio.run(scenario())


def test_a_core_that_hangs_is_killed_after_three_checks_and_restarted(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            await SyncLoop(node).once()
            heal = HealLoop(node, node.cores[0], check_s=0.001)
            driver.hanging = True
            for _ in range(2):
                await heal.once()
            assert incidents(node) == []
            await heal.once()
            assert [kind for kind, _ in incidents(node)] == ["core_hanging"]
            assert driver.traffic(ALICE, 1)

    asyncio.run(scenario())


class Unwell(MemoryDriver):
    """It can be read, or not even that, but does not serve."""

    readable = True

    async def status(self) -> Status:
        return dataclasses.replace(await super().status(), problem="it serves nobody")

    async def read(self) -> Sequence[Reading]:
        if not self.readable:
            await asyncio.Event().wait()
        return await super().read()


def test_a_core_is_read_a_last_time_before_its_restart(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), Unwell()
        async with fleet.node(tmp_path, collector, driver) as node:
            await SyncLoop(node).once()
            driver.traffic(ALICE, 10)
            heal = HealLoop(node, node.cores[0], check_s=0.001)
            for _ in range(3):
                await heal.once()
            assert node.ledger.total(ALICE) == (10, 0)
            assert driver.calls[-4:] == ["cut_all", "read", "start", "read"]

    asyncio.run(scenario())


def test_a_core_that_never_answers_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.loops.heal._LAST_READING_S", 0.01)

    async def scenario() -> None:
        collector, driver = staffed(), Unwell()
        async with fleet.node(tmp_path, collector, driver) as node, asyncio.timeout(5):
            await SyncLoop(node).once()
            driver.readable = False
            heal = HealLoop(node, node.cores[0], check_s=0.001)
            for _ in range(3):
                await heal.once()
            assert driver.calls[-2:] == ["cut_all", "start"]

    asyncio.run(scenario())


def test_bytes_that_the_ledger_cannot_keep_put_the_restart_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), Unwell()
        async with fleet.node(tmp_path, collector, driver) as node:
            await SyncLoop(node).once()
            driver.traffic(ALICE, 10)
            starts, heal = driver.calls.count("start"), HealLoop(node, node.cores[0], check_s=0.001)
            with monkeypatch.context() as disk:
                disk.setattr(node.ledger, "book", full)
                for _ in range(2):
                    await heal.once()
                with pytest.raises(LedgerError):
                    await heal.once()
                assert driver.calls.count("start") == starts
            await heal.once()
            assert driver.calls.count("start") == starts + 1
            assert node.ledger.total(ALICE) == (10, 0)
            assert [kind for kind, _ in incidents(node)] == ["core_hanging"]

    asyncio.run(scenario())


def full(reading: Reading, _: int) -> dict[Meter, Count]:
    raise LedgerError(f"the disk is full: {reading.generation}")


def test_a_core_that_answers_is_left_alone(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            await SyncLoop(node).once()
            starts = driver.calls.count("start")
            heal = HealLoop(node, node.cores[0], check_s=0.001)
            for _ in range(5):
                await heal.once()
            assert driver.calls.count("start") == starts
            assert incidents(node) == []

    asyncio.run(scenario())


def test_a_restart_that_fails_is_tried_again_and_told_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            await SyncLoop(node).once()
            heal = HealLoop(node, node.cores[0], check_s=0.001)
            driver.crash("ended by signal 9")
            # Each attempt starts twice: with everything, then without what may be at fault.
            driver.fail("start", *(DriverError("no such program") for _ in range(4)))
            for _ in range(3):
                await heal.once()
            assert driver.traffic(ALICE, 1)
            assert incidents(node) == [
                ("core_exited", "ended by signal 9"),
                ("core_restart_failed", "no such program"),
            ]

    asyncio.run(scenario())


def test_a_core_that_is_restarted_too_often_is_told_once_until_it_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        now_ms = 1_000_000
        monkeypatch.setattr("agent.loops.heal._steady_ms", lambda: now_ms)
        collector, driver = staffed(), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            await SyncLoop(node).once()
            loop, told = HealLoop(node, node.cores[0], check_s=0.001), []
            for _ in range(heal.BUDGET):
                driver.crash("ended by signal 11")
                await loop.once()
                # So steady that it is restarted at once, and yet too often.
                now_ms += heal.STEADY_MS
                told.append(len(node.problems))
            await loop.once()
            assert told == [0] * heal.BUDGET
            assert "restarted 6 times in 15 minutes" in node.problems["restarts memory"]
            await loop.once()
            assert [kind for kind, _ in incidents(node)].count("core_unsteady") == 1
            now_ms += heal.BUDGET_MS
            await loop.once()
            assert node.problems == {}

    asyncio.run(scenario())


def test_a_failure_that_somebody_else_has_mended_is_no_incident(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            await SyncLoop(node).once()
            driver.crash()
            await serving.resume(node)
            await HealLoop(node, node.cores[0], check_s=5).once()
            assert incidents(node) == []

    asyncio.run(scenario())


def test_an_unreported_total_is_told_after_the_outage_of_core_and_collector(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            await SyncLoop(node).once()
            meter, heal = MeterLoop(node), HealLoop(node, node.cores[0], check_s=5)
            collector.away = True
            driver.traffic(ALICE, 10)
            await meter.once()
            driver.crash()
            await heal.once()
            driver.traffic(ALICE, 3)
            await meter.once()
            collector.away = False
            await ReportLoop(node).flush()
        assert collector.billed(1) == 13

    asyncio.run(scenario())
