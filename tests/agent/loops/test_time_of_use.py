"""Bytes count in the quarter in which they were used, whenever and however often they are reported."""

import asyncio
import random
import tempfile
from collections import Counter
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from agent import ledger
from agent.core import marks
from agent.core.counting import Meter
from agent.core.periods import Pace
from agent.core.served import Served
from agent.drivers.memory import MemoryDriver
from agent.ledger import LedgerError
from agent.link import LinkError
from agent.loops.meter import MeterLoop
from agent.loops.node import Core, Node
from agent.loops.report import ReportLoop
from agent.loops.sync import SyncLoop
from shared.messages import Past, Quarantined
from shared.names import QUARTER_MS, EndpointId, UserId
from tests.agent import fleet

ALICE, BOB = Meter(UserId(1), EndpointId(1)), Meter(UserId(2), EndpointId(1))
FIRST = 2_000_000


class Clock:
    """The node's wall clock, in the hands of a test."""

    def __init__(self) -> None:
        self.at_ms = FIRST * QUARTER_MS

    def __call__(self) -> int:
        return self.at_ms

    def at(self, quarters: float) -> None:
        """So many quarters of an hour after the first moment."""
        self.at_ms = int((FIRST + quarters) * QUARTER_MS)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def staffed() -> fleet.Collector:
    collector = fleet.Collector()
    collector.want(fleet.endpoint(), fleet.account(1), fleet.account(2))
    return collector


def used(collector: fleet.Collector, which: Meter) -> dict[int, int]:
    """Bytes of a user by quarter, counted from the first."""
    return {quarter - FIRST: n for (user, quarter), n in collector.used.items() if user == which.user}


async def read(node: Node, clock: Clock, quarters: float) -> None:
    clock.at(quarters)
    await node.book(node.cores[0])


def test_an_outage_of_a_day_leaves_every_byte_in_its_quarter(tmp_path: Path, clock: Clock) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver, clock=clock) as node:
            await SyncLoop(node).compare_once()
            report = ReportLoop(node, rows=50)
            collector.away = True
            for quarter in range(96):
                await read(node, clock, quarter)
                driver.traffic(ALICE, 0, 1 + quarter)
                driver.traffic(BOB, quarter % 5 == 0, 0)
                await read(node, clock, quarter + 0.5)
            with pytest.raises(LinkError):
                await report.once()
            collector.away = False
            await report.flush()
            assert not node.ledger.marked
        assert used(collector, ALICE) == {quarter: 1 + quarter for quarter in range(96)}
        assert used(collector, BOB) == dict.fromkeys(range(0, 96, 5), 1)
        assert max(len(each.past) + len(each.rows) for each in collector.reports) == 50
        told = [past.quarter for each in collector.reports for past in each.past]
        assert told == sorted(told)

    asyncio.run(scenario())


def test_a_report_just_after_a_boundary_tells_what_was_used_before_it(tmp_path: Path, clock: Clock) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver, clock=clock) as node:
            await SyncLoop(node).compare_once()
            report = ReportLoop(node)
            await read(node, clock, 0.9)
            driver.traffic(ALICE, 7, 0)
            await read(node, clock, 1.001)
            await report.once()
            driver.traffic(ALICE, 5, 0)
            await read(node, clock, 1.002)
            await report.once()
        assert [each.quarter - FIRST for each in collector.reports] == [0, 1]
        assert used(collector, ALICE) == {0: 7, 1: 5}

    asyncio.run(scenario())


def test_a_total_does_not_overtake_the_mark_that_a_lost_report_told(tmp_path: Path, clock: Clock) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver, clock=clock) as node:
            await SyncLoop(node).compare_once()
            report = ReportLoop(node)
            await read(node, clock, 0)
            driver.traffic(ALICE, 7, 0)
            await read(node, clock, 0.5)
            collector.away = True
            with pytest.raises(LinkError):
                await report.once()
            await read(node, clock, 1)
            driver.traffic(ALICE, 5, 0)
            await read(node, clock, 1.5)
            collector.away = False
            await report.once()
            assert not node.ledger.marked
        assert used(collector, ALICE) == {0: 7, 1: 5}

    asyncio.run(scenario())


def test_after_a_start_totals_are_told_in_the_quarters_in_which_they_were_reached(
    tmp_path: Path, clock: Clock
) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver, clock=clock) as node:
            await SyncLoop(node).compare_once()
            for quarter, which in enumerate((ALICE, BOB)):
                await read(node, clock, quarter)
                driver.traffic(which, 0, 10)
                await read(node, clock, quarter + 0.5)
        clock.at(5)
        async with fleet.node(tmp_path, collector, driver, clock=clock) as node:
            await ReportLoop(node).flush()
        (report,) = collector.reports
        assert report.past == [Past(*ALICE, 0, 10, FIRST)]
        assert (report.rows, report.quarter) == ([fleet.usage(2, 0, 10)], FIRST + 1)

    asyncio.run(scenario())


def test_what_was_confirmed_is_told_again_without_a_time_unless_the_collector_may_have_forgotten(
    tmp_path: Path, clock: Clock
) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver, clock=clock) as node:
            sync, report = SyncLoop(node), ReportLoop(node)
            await sync.compare_once()
            await read(node, clock, 0)
            driver.traffic(ALICE, 0, 10)
            await read(node, clock, 0.5)
            await report.once()
            await read(node, clock, 5)
            await sync.compare_once()
            await report.once()
            collector.away = True
            with pytest.raises(LinkError):
                await sync.once()
            collector.away = False
            await sync.once()
            driver.traffic(BOB, 0, 1)
            await read(node, clock, 5.5)
            await report.once()
        told = [(each.quarter - FIRST, len(each.past), len(each.rows)) for each in collector.reports]
        assert told == [(0, 0, 1), (5, 0, 1), (5, 1, 1)]

    asyncio.run(scenario())


def test_a_quarantined_row_is_found_by_its_place_among_all(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver, clock=clock) as node:
            await SyncLoop(node).compare_once()
            driver.traffic(ALICE, 1, 0)
            await read(node, clock, 1)
            driver.traffic(BOB, 1, 0)
            await read(node, clock, 2)
            collector.quarantined = [Quarantined(row=0, reason="a"), Quarantined(row=1, reason="b")]
            await ReportLoop(node).flush()

    asyncio.run(scenario())
    shown = [vars(record)["fields"] for record in caplog.records if record.message == "row_quarantined"]
    assert [(one["user"], one["reason"]) for one in shown] == [(1, "a"), (2, "b")]


def test_a_disk_that_refuses_to_forget_a_mark_keeps_nobody_from_being_cut(
    tmp_path: Path, clock: Clock
) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        collector.quotas[ALICE.user] = 10
        async with fleet.node(tmp_path, collector, driver, clock=clock) as node:
            await SyncLoop(node).compare_once()
            report = ReportLoop(node)
            for quarter in range(2):
                await read(node, clock, quarter)
                driver.traffic(ALICE, 7, 0)
                await read(node, clock, quarter + 0.5)
            full = mock.patch.object(node.ledger, "confirm", side_effect=LedgerError("the disk is full"))
            with full, pytest.raises(LedgerError):
                await report.once()
            assert ALICE not in driver.connections
            await report.once()
            assert not node.ledger.marked
        assert used(collector, ALICE) == {0: 7, 1: 7}

    asyncio.run(scenario())


def test_the_counters_are_read_when_a_quarter_begins(tmp_path: Path, clock: Clock) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver, clock=clock) as node:
            node.pace = Pace(poll_s=60.0)
            clock.at_ms = (FIRST + 1) * QUARTER_MS - 1_500
            assert await MeterLoop(node).once() == 1.5
            clock.at_ms = (FIRST + 1) * QUARTER_MS
            assert await MeterLoop(node).once() == 60.0

    asyncio.run(scenario())


class Quarters(RuleBasedStateMachine):
    """Traffic, readings, lost and replayed reports, dead agents and time, in any order.

    What is true: the bytes of a reading count in the quarter of the reading before it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.clock = Clock()
        self.collector, self.driver = staffed(), MemoryDriver()
        self.runner.run(self.driver.start(Served()))
        self.truth: Counter[tuple[UserId, int]] = Counter()
        self.unread: Counter[UserId] = Counter()
        self.dropped: list[ledger.Ledger] = []
        self.read_quarter = FIRST
        self._begin()
        self.read()

    def _begin(self) -> None:
        self.book = ledger.open_ledger(Path(self.folder.name) / ledger.FILE_NAME)
        link = fleet.linked(self.collector)
        self.node = Node(
            cores=[Core(self.driver)],
            ledger=self.book,
            link=link,
            pace=fleet.FAST,
            holding=self.book.held,
            clock=self.clock,
        )
        self.reports = ReportLoop(self.node, rows=3)

    @rule(user=st.integers(1, 4), up=st.integers(0, 10**6), down=st.integers(0, 10**6))
    def traffic(self, user: int, up: int, down: int) -> None:
        which = Meter(UserId(user), EndpointId(1))
        self.driver.connections[which] = 1
        self.driver.traffic(which, up, down)
        self.unread[which.user] += up + down

    @rule(by_ms=st.integers(0, 2_000) | st.integers(0, 12 * QUARTER_MS))
    def time_passes(self, by_ms: int) -> None:
        self.clock.at_ms += by_ms

    @rule()
    def read(self) -> None:
        self.runner.run(self.node.book(self.node.cores[0]))
        for user, count in self.unread.items():
            self.truth[user, self.read_quarter] += count
        self.unread.clear()
        self.read_quarter = marks.quarter(self.clock.at_ms)

    @rule(fate=st.sampled_from(("arrives", "is lost", "arrives, its answer is lost")))
    def report(self, fate: str) -> None:
        if not (self.node.unreported or self.book.marked):
            return
        self.collector.away = fate == "is lost"
        self.collector.lost_replies = int(fate == "arrives, its answer is lost")
        if fate == "arrives":
            self.runner.run(self.reports.once())
        else:
            with pytest.raises(LinkError):
                self.runner.run(self.reports.once())
        self.collector.away, self.collector.lost_replies = False, 0

    @rule(chance=st.randoms(use_true_random=False))
    def an_old_report_comes_again(self, chance: random.Random) -> None:
        if self.collector.reports:
            self.collector.merge(chance.choice(self.collector.reports))

    @rule()
    def the_agent_dies(self) -> None:
        self.runner.run(self.node.link.close())
        # Not closed, as a kill leaves it.
        self.dropped.append(self.book)
        self._begin()

    @rule()
    def everything_is_told_and_counts_when_it_was_used(self) -> None:
        self.read()
        self.runner.run(self.reports.flush())
        assert not self.book.marked
        self.compare()

    def compare(self) -> None:
        assert self.collector.used == {key: count for key, count in self.truth.items() if count}

    @invariant()
    def nothing_counts_that_was_not_used(self) -> None:
        assert sum(self.collector.used.values()) <= sum(self.truth.values())
        for each in self.collector.reports:
            assert len(each.past) + len(each.rows) <= 3

    def teardown(self) -> None:
        self.everything_is_told_and_counts_when_it_was_used()
        self.runner.run(self.node.link.close())
        for book in (*self.dropped, self.book):
            book.close()
        self.runner.close()
        self.folder.cleanup()


Quarters.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestQuarters = Quarters.TestCase


class QuartersOfABadClock(Quarters):
    """The same, and somebody sets the clock back: times are then what it says, totals are right."""

    @rule(by_ms=st.integers(1, 2_000) | st.integers(1, 12 * QUARTER_MS))
    def the_clock_is_set_back(self, by_ms: int) -> None:
        self.clock.at_ms -= by_ms

    @invariant()
    def marks_of_a_meter_rise(self) -> None:
        last: dict[tuple[int, int], tuple[int, int, int]] = {}
        for mark in self.book.marks(1_000):
            before = last.get((mark.user, mark.endpoint), (0, 0, 0))
            last[mark.user, mark.endpoint] = (mark.quarter, mark.up, mark.down)
            assert all(
                new >= old for new, old in zip((mark.quarter, mark.up, mark.down), before, strict=True)
            )
        for which, (quarter, up, down) in last.items():
            now = self.book.standings[Meter(UserId(which[0]), EndpointId(which[1]))]
            assert quarter < now.quarter
            assert (up, down) <= (now.up, now.down)

    def compare(self) -> None:
        billed, true = Counter[UserId](), Counter[UserId]()
        for (user, _), count in self.collector.used.items():
            billed[user] += count
        for (user, _), count in self.truth.items():
            true[user] += count
        assert billed == true


QuartersOfABadClock.TestCase.settings = settings(max_examples=20, stateful_step_count=30, deadline=None)
TestQuartersOfABadClock = QuartersOfABadClock.TestCase
