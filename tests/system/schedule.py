"""Seeded schedules of faults: `run(seed, ground)` plays one and says how it ended.

What always holds: a seed and the sources give the same schedule again. Every schedule has faults of its own:
some kinds never, some often, since faults that are always equally rare hide each other.
"""

import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from shared.names import QUARTER_MS
from tests.system import fault_world
from tests.system.collector_side import Ground
from tests.system.fault_world import World
from tests.system.happenings import Fate, Settled
from tests.system.node_side import Site

_STEPS = (20, 100)
#: Amounts that are awkward: nothing, one byte, and numbers that no 32 bits hold.
_AMOUNTS = (0, 1, 1_000, 65_535, 2**31, 2**32 + 1)
_LATEST_COPIES = 3
_DAY_MS = 86_400_000

Action = Callable[[World, Site, random.Random], None]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a schedule ended; `seen` counts what happened, by its name."""

    seed: int
    steps: int
    reports: int
    seen: Counter[str]
    settled: Settled

    @property
    def forgetful(self) -> bool:
        """Whether a disk was lost or an older copy came back."""
        return any(self.seen[kind] for kind in _FORGETTING)


def run(seed: int, ground: Ground) -> Outcome:
    """Play one schedule. Raises AssertionError when a promise is broken."""
    chance = random.Random(seed)
    steps = chance.randint(*_STEPS)
    weights = _weights(chance)
    with fault_world.opened(ground) as world:
        for _ in range(steps):
            (action,) = chance.choices(list(weights), list(weights.values()))
            _ACTIONS[action](world, chance.choice(world.sites), chance)
        settled = world.settle(chance)
        return Outcome(seed=seed, steps=steps, reports=len(world.sent), seen=world.seen, settled=settled)


def _weights(chance: random.Random) -> Mapping[str, float]:
    faults = {name: chance.choice(_OFTEN) for name in _ACTIONS if name not in _ORDINARY}
    if chance.random() < _FAITHFUL:
        # Nothing is forgotten in these, so every byte that a reading showed must be billed.
        faults |= dict.fromkeys(_FORGETFUL, 0.0)
    for restored, copied in _COPIES.items():
        faults[copied] = faults[restored]
    return {**_ORDINARY, **faults}


def _traffic(world: World, _site: Site, chance: random.Random) -> None:
    meter = chance.choice(world.meters)
    world.traffic(meter, _amount(chance), _amount(chance))


def _amount(chance: random.Random) -> int:
    return chance.choice(_AMOUNTS) + chance.randrange(1_000)


def _deliver(world: World, _site: Site, chance: random.Random) -> None:
    waiting = [number for number in range(len(world.sent)) if number not in world.heard]
    if world.sent:
        world.deliver(chance.choice(waiting if waiting and chance.random() < 0.5 else range(len(world.sent))))


def _agent_dies(world: World, site: Site, chance: random.Random) -> None:
    world.agent_dies(site, meanwhile=_amount(chance))


def _agent_restored(world: World, site: Site, chance: random.Random) -> None:
    if site.copies:
        world.agent_restored(site, chance.choice(site.copies[-_LATEST_COPIES:]))


def _collector_restored(world: World, _site: Site, chance: random.Random) -> None:
    if world.collector.copies:
        world.collector_restored(chance.choice(world.collector.copies[-_LATEST_COPIES:]))


def _clock_jumps(world: World, _site: Site, chance: random.Random) -> None:
    world.clock_jumps(chance.randint(-_DAY_MS, _DAY_MS))


def _fated(fate: Fate) -> Action:
    return lambda world, site, _chance: world.report(site, fate)


_ORDINARY = {"traffic": 20.0, "book": 12.0, "report": 12.0, "time passes": 4.0}
_OFTEN = (0.0, 0.0, 0.5, 2.0, 4.0)
_FAITHFUL = 0.5
_COPIES = {"agent restored": "agent backed up", "collector restored": "collector backed up"}
_FORGETTING = ("agent's disk lost", "agent restored", "agent's ledger changed back", "collector restored")
_FORGETFUL = ("disk lost", "agent restored", "collector restored")
_ACTIONS: Mapping[str, Action] = {
    "traffic": _traffic,
    "book": lambda world, site, _: world.book(site),
    "report": _fated(Fate.ARRIVES),
    "time passes": lambda world, _site, chance: world.time_passes(chance.randrange(QUARTER_MS)),
    "report lost": _fated(Fate.LOST),
    "answer lost": _fated(Fate.ANSWER_LOST),
    "collector dies before its commit": _fated(Fate.DIES_BEFORE),
    "collector dies after its commit": _fated(Fate.DIES_AFTER),
    "deliver again": _deliver,
    "replay": lambda world, _site, chance: world.replay(chance),
    "agent dies": _agent_dies,
    "agent dies reading": lambda world, site, _: world.agent_dies_reading(site),
    "agent restarts": lambda world, site, _: world.agent_restarts(site),
    "adoption fails": lambda world, site, _: world.adoption_fails(site),
    "start fails": lambda world, site, _: world.start_fails(site),
    "gives back": lambda world, site, _: world.gives_back(site),
    "reading fails": lambda world, site, _: world.reading_fails(site),
    "reading late": lambda world, site, _: world.reading_late(site),
    "core dies": lambda world, site, _: world.core_dies(site),
    "core restarts": lambda world, site, _: world.core_restarts(site),
    "disk lost": lambda world, site, _: world.disk_lost(site),
    "agent backed up": lambda world, site, _: world.agent_backed_up(site),
    "agent restored": _agent_restored,
    "collector dies": lambda world, _site, _: world.collector_dies(),
    "collector backed up": lambda world, _site, _: world.collector_backed_up(),
    "collector restored": _collector_restored,
    "clock jumps": _clock_jumps,
}
