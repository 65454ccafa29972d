"""Leases in a hostile world: a million random steps, and what a quiet world makes of a package."""

import random
from collections.abc import Callable

import pytest

from tests.system.lease_world import Node, World

_GB = 10**9
_STEPS = 25_000
_SEEDS = 40
#: What a user may move between two readings: 100 ms at 1 Gbit/s.
_TICK_BYTES = 12_500_000


def _world(seed: int, *, nodes: int, limit: int, faults: bool = True) -> World:
    made = [Node(ledger=f"ledger-{number}") for number in range(nodes)]
    return World(limit=limit, per_tick=_TICK_BYTES, chance=random.Random(seed), nodes=made, faults=faults)


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


@pytest.mark.parametrize("nodes", [1, 2, 5, 10])
def test_a_package_can_be_used_up_with_few_renewals_while_all_can_be_reached(nodes: int) -> None:
    world = _world(1, nodes=nodes, limit=10 * _GB, faults=False)
    for _ in range(40_000):
        world.step()
    assert world.delivered >= 10 * _GB * 99 // 100
    assert world.renewals <= 15 * nodes
