"""Whatever dies, is lost, is repeated or comes back: no byte is lost or billed twice."""

import contextlib
import random
from collections import Counter
from collections.abc import Iterator
from typing import ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from agent.core.counting import Meter
from tests.kit import stores
from tests.kit.postgres import Cluster
from tests.system import collector_side, fault_world, schedule
from tests.system.collector_side import Ground
from tests.system.fault_world import World
from tests.system.happenings import KINDS, Fate, Settled
from tests.system.node_side import Site

_SEEDS = 200
_EXAMPLES = 100
#: A kill or a backup costs a server far more than a copy of files in memory.
_SEEDS_ON_POSTGRES, _EXAMPLES_ON_POSTGRES = 8, 6
#: Twice as long as an agent waits for an answer.
_HELD_UP_MS = 30_000


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    with collector_side.ground() as made:
        yield made


@pytest.fixture(scope="module")
def ground_on_postgres(cluster: Cluster) -> Iterator[Ground]:
    with stores.on_postgres(cluster) as store, collector_side.ground_on(store) as made:
        yield made


@pytest.fixture
def world(ground: Ground) -> Iterator[World]:
    with fault_world.opened(ground) as opened:
        yield opened


def moved(world: World, meter: Meter, up: int, down: int) -> Site:
    """Move bytes, book them and report them."""
    site = next(site for site in world.sites if meter in site.meters)
    world.traffic(meter, up, down)
    world.book(site)
    world.report(site)
    return site


def bill(world: World, meter: Meter) -> tuple[int, int]:
    up, down = world.collector.bills[meter.user]
    return up, down


def settled(world: World) -> Settled:
    return world.settle(random.Random(1))


class Faults(RuleBasedStateMachine):
    """Everything that can happen, in any order; what must hold is checked by the world after each step."""

    sites = st.integers(0, collector_side.NODES - 1)
    amounts = st.integers(0, 2**33)

    ground: ClassVar[Ground]

    def __init__(self) -> None:
        super().__init__()
        with contextlib.ExitStack() as opened:
            self.world = opened.enter_context(fault_world.opened(self.ground))
            self.opened = opened.pop_all()

    @rule(number=st.integers(0, 11), up=amounts, down=amounts)
    def traffic(self, number: int, up: int, down: int) -> None:
        self.world.traffic(self.world.meters[number], up, down)

    @rule(number=sites)
    def book(self, number: int) -> None:
        self.world.book(self.world.sites[number])

    @rule(number=sites, fate=st.sampled_from(Fate))
    def report(self, number: int, fate: Fate) -> None:
        self.world.report(self.world.sites[number], fate)

    @rule(number=sites)
    def gives_back(self, number: int) -> None:
        self.world.gives_back(self.world.sites[number])

    @rule(number=st.integers(0, 50))
    def deliver_again(self, number: int) -> None:
        if number < len(self.world.sent):
            self.world.deliver(number)

    @rule(number=sites, meanwhile=amounts)
    def agent_dies(self, number: int, meanwhile: int) -> None:
        self.world.agent_dies(self.world.sites[number], meanwhile=meanwhile)

    @rule(number=sites)
    def agent_dies_reading(self, number: int) -> None:
        self.world.agent_dies_reading(self.world.sites[number])

    @rule(number=sites)
    def agent_restarts(self, number: int) -> None:
        self.world.agent_restarts(self.world.sites[number])

    @rule(number=sites)
    def adoption_fails(self, number: int) -> None:
        self.world.adoption_fails(self.world.sites[number])

    @rule(number=sites)
    def start_fails(self, number: int) -> None:
        self.world.start_fails(self.world.sites[number])

    @rule(number=sites)
    def reading_late(self, number: int) -> None:
        self.world.reading_late(self.world.sites[number])

    @rule(number=sites)
    def core_dies(self, number: int) -> None:
        self.world.core_dies(self.world.sites[number])

    @rule(number=sites)
    def core_restarts(self, number: int) -> None:
        self.world.core_restarts(self.world.sites[number])

    @rule(number=sites)
    def disk_lost(self, number: int) -> None:
        self.world.disk_lost(self.world.sites[number])

    @rule(number=sites)
    def agent_backed_up(self, number: int) -> None:
        self.world.agent_backed_up(self.world.sites[number])

    @rule(number=sites, copy=st.integers(0, 5))
    def agent_restored(self, number: int, copy: int) -> None:
        site = self.world.sites[number]
        if copy < len(site.copies):
            self.world.agent_restored(site, site.copies[copy])

    @rule()
    def collector_dies(self) -> None:
        self.world.collector_dies()

    @rule()
    def collector_backed_up(self) -> None:
        self.world.collector_backed_up()

    @rule(copy=st.integers(0, 5))
    def collector_restored(self, copy: int) -> None:
        if copy < len(self.world.collector.copies):
            self.world.collector_restored(self.world.collector.copies[copy])

    def teardown(self) -> None:
        with self.opened:
            settled(self.world)


def test_whatever_happens_in_whatever_order_every_byte_is_billed_once(ground: Ground) -> None:
    _in_any_order(ground, _EXAMPLES)


@pytest.mark.postgres
def test_the_same_holds_on_postgresql(ground_on_postgres: Ground) -> None:
    _in_any_order(ground_on_postgres, _EXAMPLES_ON_POSTGRES)
    for seed in range(_SEEDS, _SEEDS + _SEEDS_ON_POSTGRES):
        outcome = schedule.run(seed, ground_on_postgres)
        assert outcome.settled.doubled == 0
        assert outcome.settled.lost <= outcome.settled.forgotten
        if not outcome.forgetful:
            assert outcome.settled.billed == outcome.settled.shown


def _in_any_order(ground: Ground, examples: int) -> None:
    machine = type("FaultsOnThisGround", (Faults,), {"ground": ground})
    often = settings(max_examples=examples, stateful_step_count=30, deadline=None)
    run_state_machine_as_test(machine, settings=often)


def test_seeded_schedules_meet_every_fault_and_bill_every_byte_once(ground: Ground) -> None:
    seen: Counter[str] = Counter()
    faithful = 0
    for seed in range(_SEEDS):
        outcome = schedule.run(seed, ground)
        seen += outcome.seen
        assert outcome.settled.doubled == 0
        assert outcome.settled.lost <= outcome.settled.forgotten
        if not outcome.forgetful:
            faithful += 1
            assert outcome.settled.billed == outcome.settled.shown
    assert seen.keys() == KINDS
    assert faithful > _SEEDS // 4


def test_a_seed_plays_the_same_schedule_again(ground: Ground) -> None:
    assert schedule.run(7, ground) == schedule.run(7, ground)


def test_a_restored_state_directory_loses_nothing_while_its_core_runs_on(world: World) -> None:
    alice = world.meters[0]
    site = moved(world, alice, 10, 100)
    world.agent_backed_up(site)
    moved(world, alice, 20, 200)
    world.agent_restored(site, site.copies[0])
    moved(world, alice, 1, 2)
    assert bill(world, alice) == (31, 302)
    assert settled(world).forgotten == 0


def test_a_ledger_that_went_back_bills_nothing_until_it_has_passed_what_was_seen(world: World) -> None:
    alice = world.meters[0]
    site = moved(world, alice, 10, 100)
    world.agent_backed_up(site)
    moved(world, alice, 20, 200)
    world.core_restarts(site)
    world.agent_restored(site, site.copies[0])
    moved(world, alice, 15, 0)
    assert bill(world, alice) == (30, 300)
    moved(world, alice, 15, 250)
    assert bill(world, alice) == (40, 350)
    end = settled(world)
    # 20 up and 200 down of the dead core are forgotten, and exactly so many bytes of later use go unbilled.
    assert (end.forgotten, end.lost, end.doubled) == (220, 220, 0)


def test_a_lost_disk_loses_what_its_ledger_had_not_told(world: World) -> None:
    alice = world.meters[0]
    site = moved(world, alice, 10, 100)
    world.traffic(alice, 1, 1)
    world.book(site)
    world.traffic(alice, 500, 500)
    world.disk_lost(site)
    moved(world, alice, 3, 4)
    assert bill(world, alice) == (13, 104)
    end = settled(world)
    assert (end.forgotten, end.lost, end.doubled) == (2, 2, 0)


def test_a_restored_collector_learns_the_truth_again_from_ledgers_that_live(world: World) -> None:
    alice, bob = world.meters[0], world.meters[-1]
    world.collector_backed_up()
    moved(world, alice, 10, 100)
    moved(world, bob, 20, 200)
    world.collector_restored(world.collector.copies[0])
    assert (bill(world, alice), bill(world, bob)) == ((0, 0), (0, 0))
    for site in world.sites:
        world.agent_dies(site)
        world.report(site)
    assert (bill(world, alice), bill(world, bob)) == ((10, 100), (20, 200))
    assert settled(world).lost == 0


def test_a_restored_collector_learns_of_a_lost_ledger_only_from_its_old_reports(world: World) -> None:
    alice = world.meters[0]
    world.collector_backed_up()
    site = moved(world, alice, 10, 100)
    world.disk_lost(site)
    world.collector_restored(world.collector.copies[0])
    end = settled(world)
    assert (end.forgotten, end.lost) == (110, 110)
    # `settle` has replayed everything by now.
    assert bill(world, alice) == (10, 100)


def test_a_restored_collector_learns_the_truth_of_idle_users_at_the_next_compare(world: World) -> None:
    alice = world.meters[0]
    world.collector_backed_up()
    site = moved(world, alice, 10, 100)
    world.collector_restored(world.collector.copies[0])
    site.agent.tell_all()
    world.report(site)
    assert bill(world, alice) == (10, 100)


def test_a_ledger_that_comes_back_does_not_bill_what_a_newer_one_has_billed(world: World) -> None:
    alice = world.meters[0]
    site = moved(world, alice, 10, 100)
    world.agent_backed_up(site)
    world.disk_lost(site)
    moved(world, alice, 20, 200)
    world.agent_restored(site, site.copies[0], core_dies=False)
    world.book(site)
    world.report(site)
    assert bill(world, alice) == (30, 300)


def test_a_report_behind_a_late_one_is_not_taken_for_impossible(world: World) -> None:
    alice = world.meters[0]
    site = world.sites[0]
    world.traffic(alice, 0, 1)
    world.book(site)
    world.report(site, Fate.LOST)
    world.clock_jumps(_HELD_UP_MS)
    world.traffic(alice, 0, 2**40)
    world.book(site)
    world.deliver(0)
    world.report(site)
    assert bill(world, alice) == (0, 1 + 2**40)


def test_a_core_that_started_only_at_the_second_try_is_taken_over_by_the_next_agent(world: World) -> None:
    alice = world.meters[0]
    site = world.sites[0]
    site.lose_disk()
    site.start_fails()
    site.boot()
    site.mend()
    world.agent_dies(site, meanwhile=100)
    moved(world, alice, 1, 1)
    assert bill(world, alice) == (101, 101)
