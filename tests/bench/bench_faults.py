"""Bytes lost and bytes billed twice, over 10,000 seeded schedules of faults and 200 kills of real processes.

The schedules play on every core of this machine, the kills after them, alone.
"""

import logging
import multiprocessing
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

from tests.bench.asked import Asked
from tests.bench.figure import Figure
from tests.demo.stage import Stage
from tests.kit import fleet
from tests.system import collector_side, kills, schedule
from tests.system.happenings import KINDS

_SCHEDULES = 10_000
_CHUNK = 250
_SAID_EVERY = 1_000
_KILLS = 200
_SEED = 1
#: What happens in schedules without being a fault.
_ORDINARY = ("traffic", "booking", "report", "core adopted")


@dataclass
class Tally:
    """Sums over schedules; `lost` leaves out what a lost disk or an older copy had forgotten."""

    schedules: int = 0
    steps: int = 0
    reports: int = 0
    shown: int = 0
    lost: int = 0
    forgotten: int = 0
    doubled: int = 0
    seen: Counter[str] = field(default_factory=Counter)
    broken: dict[int, str] = field(default_factory=dict)

    def count(self, outcome: schedule.Outcome) -> None:
        """Add one schedule."""
        end = outcome.settled
        self.schedules += 1
        self.steps += outcome.steps
        self.reports += outcome.reports
        self.shown += end.shown
        self.lost += max(0, end.lost - (end.forgotten if outcome.forgetful else 0))
        self.forgotten += min(end.lost, end.forgotten)
        self.doubled += end.doubled
        self.seen += outcome.seen

    def add(self, other: "Tally") -> None:
        """Add another tally."""
        for name in ("schedules", "steps", "reports", "shown", "lost", "forgotten", "doubled"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.seen += other.seen
        self.broken |= other.broken


def measure(_asked: Asked) -> list[Figure]:
    """Figures of both."""
    stage = Stage(sys.stdout)
    return [*_schedule_figures(_schedules(stage)), *_kill_figures(_killed(stage))]


def _schedules(stage: Stage) -> Tally:
    total = Tally()
    for part in _played():
        total.add(part)
        if (total.schedules + len(total.broken)) % _SAID_EVERY == 0:
            stage.say(f"{total.schedules:,} schedules, {total.lost} bytes lost, {total.doubled} doubled")
        for seed, why in part.broken.items():
            stage.say(f"seed {seed} broke: {why}")
    return total


def _played() -> Iterator[Tally]:
    chunks = [range(first, first + _CHUNK) for first in range(0, _SCHEDULES, _CHUNK)]
    # A fresh interpreter each: the parent's threads and locks are not copied.
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), mp_context=fresh) as pool:
        yield from pool.map(_chunk, chunks)


def _chunk(seeds: Sequence[int]) -> Tally:
    # Faults are what the agent and the collector warn of: here there are nothing but faults.
    logging.disable(logging.CRITICAL)
    tally = Tally()
    with collector_side.ground() as ground:
        for seed in seeds:
            try:
                tally.count(schedule.run(seed, ground))
            except Exception as error:  # noqa: BLE001 - the seed is what matters; the others go on
                tally.broken[seed] = f"{type(error).__name__}: {error}"
    return tally


def _killed(stage: Stage) -> kills.Storm:
    said: set[int] = set()

    def progress(count: int) -> None:
        tens = count // 20
        if tens not in said:
            said.add(tens)
            stage.say(f"{count} kills")

    with fleet.opened(("home",)) as everything:
        return kills.sparing_the_core(everything, seed=_SEED, kills=_KILLS, progress=progress)


def _schedule_figures(tally: Tally) -> list[Figure]:
    faults = {kind: tally.seen[kind] for kind in sorted(KINDS) if kind not in _ORDINARY}
    return [
        Figure(name="schedules of faults", value=tally.schedules, unit="", goal=_SCHEDULES, better="higher"),
        _none("schedules that broke a promise", len(tally.broken), ""),
        Figure(name="steps of all schedules", value=tally.steps, unit=""),
        Figure(name="reports sent", value=tally.reports, unit=""),
        Figure(name="faults injected", value=sum(faults.values()), unit=""),
        *(Figure(name=f"fault: {kind}", value=count, unit="") for kind, count in faults.items()),
        Figure(name="bytes that readings showed", value=tally.shown, unit="B"),
        _none("bytes lost that somebody still knew", tally.lost, "B"),
        _none("bytes billed twice", tally.doubled, "B"),
        Figure(name="bytes lost with disks and by older copies", value=tally.forgotten, unit="B"),
    ]


def _kill_figures(storm: kills.Storm) -> list[Figure]:
    unfinished = storm.downloads.total() - storm.downloads["complete"]
    return [
        Figure(
            name="kills of real processes", value=storm.kills.total(), unit="", goal=_KILLS, better="higher"
        ),
        *(Figure(name=f"kills: {name}", value=count, unit="") for name, count in sorted(storm.kills.items())),
        Figure(name="kills took", value=round(storm.took_s, 1), unit="s"),
        Figure(name="bytes clients had", value=sum(bill.delivered for bill in storm.bills), unit="B"),
        _none("bytes clients had and nobody pays", storm.lost, "B"),
        _none("bytes paid that no client had", storm.doubled, "B"),
        _none("bytes between the bill and Xray", sum(abs(b.billed - b.counted) for b in storm.bills), "B"),
        _none("downloads that a kill broke off", unfinished, ""),
    ]


def _none(name: str, value: int, unit: str) -> Figure:
    return Figure(name=name, value=value, unit=unit, goal=0)
