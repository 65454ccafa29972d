"""What the ledger cannot keep of one interface of a core hinders no other, and nothing of it is lost."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import pytest

from agent.core.counting import Count, Meter, Reading
from agent.drivers.memory import MemoryDriver
from agent.ledger import Ledger, LedgerError
from agent.loops.heal import HealLoop
from agent.loops.meter import MeterLoop
from agent.loops.report import ReportLoop
from agent.loops.sync import SyncLoop
from shared.messages import Lease
from shared.names import EndpointId, UserId
from tests.agent import fleet

ALICE, BOB = Meter(UserId(1), EndpointId(1)), Meter(UserId(2), EndpointId(1))


class Interfaces(MemoryDriver):
    """Counts each user in a source of his own; what a removed one counted last is told once."""

    def __init__(self) -> None:
        super().__init__()
        self.last_words: list[Reading] = []

    async def read(self) -> Sequence[Reading]:
        (whole,) = await super().read()
        apart = [
            Reading(f"{whole.generation}/{meter.user}", {meter: count}, f"wg{meter.user}")
            for meter, count in sorted(whole.counts.items(), reverse=True)
        ]
        gone, self.last_words = self.last_words, []
        return [*gone, *apart]


def _full(*_: object) -> NoReturn:
    raise LedgerError("the disk is full")


def test_a_full_disk_is_no_way_around_a_lease_on_any_interface(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        collector, driver = fleet.Collector(), Interfaces()
        collector.want(fleet.endpoint(), fleet.account(1, terms=1), fleet.account(2))
        collector.leases[ALICE.user] = Lease(ALICE.user, terms=1, total=100)
        async with fleet.node(tmp_path, collector, driver) as node:
            await SyncLoop(node).compare_once()
            await ReportLoop(node).once()
            monkeypatch.setattr(Ledger, "book", _full)
            driver.traffic(BOB, 0, 1)
            assert driver.traffic(ALICE, 0, 101)
            await MeterLoop(node).once()
            assert not driver.traffic(ALICE, 0, 1)

    asyncio.run(scenario())


def test_the_last_count_of_a_removed_interface_waits_for_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        collector, driver = fleet.Collector(), Interfaces()
        collector.want(fleet.endpoint(), fleet.account(1), fleet.account(2))
        async with fleet.node(tmp_path, collector, driver) as node:
            await SyncLoop(node).compare_once()
            monkeypatch.setattr(Ledger, "book", _full)
            driver.last_words = [Reading("old", {ALICE: Count(0, 7)}, "wg1")]
            driver.traffic(ALICE, 0, 1)
            driver.traffic(BOB, 0, 1)
            for _ in range(3):
                await MeterLoop(node).once()
            monkeypatch.undo()
            await MeterLoop(node).once()
            assert node.ledger.total(ALICE).down == 8
            assert node.ledger.total(BOB).down == 1
            await MeterLoop(node).once()
            assert not node.problems
            assert node.ledger.total(ALICE).down == 8

    asyncio.run(scenario())


def test_a_full_disk_is_no_way_around_a_lease_by_way_of_a_core_that_dies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        collector, driver = fleet.Collector(), MemoryDriver()
        collector.want(fleet.endpoint(), fleet.account(1, terms=1))
        collector.leases[ALICE.user] = Lease(ALICE.user, terms=1, total=100)
        async with fleet.node(tmp_path, collector, driver) as node:
            await SyncLoop(node).compare_once()
            await ReportLoop(node).once()
            monkeypatch.setattr(Ledger, "book", _full)
            assert driver.traffic(ALICE, 0, 60)
            await MeterLoop(node).once()
            driver.crash()
            await HealLoop(node, node.cores[0], check_s=0.001).once()
            assert driver.traffic(ALICE, 0, 39)
            await MeterLoop(node).once()
            assert driver.traffic(ALICE, 0, 1)
            await MeterLoop(node).once()
            assert not driver.traffic(ALICE, 0, 1)
            monkeypatch.undo()
            await MeterLoop(node).once()
            assert node.ledger.total(ALICE).down == 100

    asyncio.run(scenario())
