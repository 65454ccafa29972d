"""Leases in a hostile world: a million random steps, and what a quiet world makes of a package."""

import random
from collections.abc import Callable

import pytest

from tests.system.lease_books import Collector
from tests.system.lease_world import Node, World

_GB = 10**9
_STEPS = 25_000
_RESTORED_STEPS = 1_500
_RESTORED_SEEDS = 100
#: By then a quiet world has used up any package.
_QUIET_STEPS = 60_000
_SEEDS = 40
#: What a user may move between two readings: 100 ms at 1 Gbit/s.
_TICK_BYTES = 12_500_000


def _world(seed: int, *, nodes: int, limit: int, faults: bool = True, restoring: bool = False) -> World:
    made = [Node(ledger=f"ledger-{number}") for number in range(nodes)]
    return World(
        limit=limit,
        per_tick=_TICK_BYTES,
        chance=random.Random(seed),
        nodes=made,
        collector=Collector(limit, nodes),
        faults=faults,
        restoring=restoring,
    )


def _restored_world(seed: int) -> World:
    chance = random.Random(seed)
    nodes, limit = chance.choice((1, 2, 3, 10)), chance.choice((_GB, 10 * _GB))
    world = _world(seed, nodes=nodes, limit=limit, restoring=True)
    for _ in range(_RESTORED_STEPS):
        world.step()
    return world


@pytest.mark.parametrize("part", range(4))
def test_a_million_hostile_steps_never_deliver_or_promise_beyond_the_limit(
    part: int, record_property: Callable[[str, object], None]
) -> None:
    worst, bound = 0, 0
    for seed in range(part, _SEEDS, 4):
        chance = random.Random(seed)
        nodes, limit = chance.choice((1, 2, 3, 10, 50)), chance.choice((_GB // 5, _GB, 10 * _GB))
        world = _world(seed, nodes=nodes, limit=limit)
        for _ in range(_STEPS):
            world.step()
        worst, bound = max((worst, bound), (world.delivered - world.limit, world.bound))
    record_property("worst overshoot, bytes", worst)
    record_property("its bound, bytes", bound)
    assert worst <= bound


@pytest.mark.parametrize("part", range(4))
def test_a_collector_restored_from_any_backup_lends_nothing_twice_and_strands_nothing(
    part: int, record_property: Callable[[str, object], None]
) -> None:
    restores = 0
    for seed in range(part, _RESTORED_SEEDS, 4):
        world = _restored_world(seed)
        restores += world.restores
        world.faults, world.collector_up = False, True
        left = _QUIET_STEPS
        while world.collector.asked or world.delivered < world.limit * 99 // 100:
            world.step()
            left -= 1
            assert left, "not all of the limit can be used"
    record_property("restores", restores)
    assert restores > 5 * _RESTORED_SEEDS // 4


def test_a_collector_that_asked_no_node_after_a_restore_would_lend_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Collector, "restored", lambda _collector, question: question)
    with pytest.raises(AssertionError):
        list(map(_restored_world, range(_RESTORED_SEEDS)))


@pytest.mark.parametrize("nodes", [1, 2, 5, 10])
def test_a_package_can_be_used_up_with_few_renewals_while_all_can_be_reached(nodes: int) -> None:
    world = _world(1, nodes=nodes, limit=10 * _GB, faults=False)
    for _ in range(40_000):
        world.step()
    assert world.delivered >= 10 * _GB * 99 // 100
    assert world.collector.renewals <= 15 * nodes
