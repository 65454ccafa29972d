"""A node whose state directory is replaced by an older copy: every byte that can be known is billed, once."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.core.counting import Meter
from agent.drivers.memory import MemoryDriver
from agent.loops.meter import MeterLoop
from agent.loops.node import Node
from agent.loops.report import ReportLoop
from agent.loops.sync import SyncLoop
from shared.messages import Lease
from shared.names import EndpointId, UserId
from tests.agent import fleet

ALICE, BOB = Meter(UserId(1), EndpointId(1)), Meter(UserId(2), EndpointId(1))


class Story:
    """One node, of which a copy is made and put back."""

    def __init__(self, folder: Path, terms: int | None = None) -> None:
        self.folder = folder / "state"
        self.folder.mkdir()
        self.copy = folder / "copy"
        self.collector, self.driver = fleet.Collector(), MemoryDriver()
        self.collector.want(fleet.endpoint(), fleet.account(1, terms=terms), fleet.account(2))

    @contextlib.asynccontextmanager
    async def agent(self) -> AsyncIterator[tuple[Node, ReportLoop]]:
        """A run of the agent that has told all it knows."""
        async with fleet.node(self.folder, self.collector, self.driver) as node:
            node.ledger.begin_epoch()
            report = ReportLoop(node)
            await SyncLoop(node).compare_once()
            await report.once()
            yield node, report

    async def moves(self, node: Node, report: ReportLoop, meter: Meter, down: int) -> None:
        assert self.driver.traffic(meter, 0, down)
        await MeterLoop(node).once()
        await report.once()

    def back_up(self) -> None:
        shutil.copytree(self.folder, self.copy)

    def restore(self) -> None:
        shutil.rmtree(self.folder)
        self.copy.rename(self.folder)


@pytest.mark.parametrize("core_lives", [True, False])
def test_counting_goes_on_from_what_was_billed(tmp_path: Path, core_lives: bool) -> None:
    async def scenario() -> None:
        story = Story(tmp_path)
        async with story.agent() as (node, report):
            await story.moves(node, report, ALICE, 100)
            story.back_up()
            await story.moves(node, report, ALICE, 1_000)
            await story.moves(node, report, BOB, 50)
        story.restore()
        if not core_lives:
            await story.driver.stop()
        async with story.agent() as (node, report):
            for _ in range(3):
                await story.moves(node, report, ALICE, 7)
                await story.moves(node, report, BOB, 3)
            await report.flush()
            incidents = [one.kind for one in node.ledger.incidents()]
            assert incidents.count("state_restored") == (not core_lives)
        assert story.collector.billed(1) == 1_121
        assert story.collector.billed(2) == 59

    asyncio.run(scenario())


def test_an_old_lease_is_not_served_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        story = Story(tmp_path, terms=1)
        story.collector.leases[ALICE.user] = Lease(ALICE.user, terms=1, total=500)
        async with story.agent() as (node, report):
            await story.moves(node, report, ALICE, 100)
            story.back_up()
            await story.moves(node, report, ALICE, 400)
        story.collector.leases.clear()
        story.restore()
        await story.driver.stop()
        async with story.agent() as (node, report):
            await MeterLoop(node).once()
            assert not story.driver.traffic(ALICE, 0, 1)
            await report.flush()
        assert story.collector.billed(1) == 500

    asyncio.run(scenario())


def test_what_this_agent_has_told_before_is_not_counted_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        story = Story(tmp_path)
        async with story.agent() as (node, report):
            await story.moves(node, report, ALICE, 100)
            # Another agent with the same ledger, as of a machine that was copied, has told more.
            story.collector.totals[node.ledger.id, ALICE.user, ALICE.endpoint] = (0, 150)
            await story.moves(node, report, ALICE, 10)
            assert node.ledger.total(ALICE).down == 110

    asyncio.run(scenario())
