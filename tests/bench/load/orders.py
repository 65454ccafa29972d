"""What the load generator is asked to do, and what it tells of it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from shared.names import NodeId
from tests.bench.load.shape import Shape


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where reports go: the collector's address, whom to trust (None: plain HTTP), its clock, its fleet."""

    address: tuple[str, int]
    ca: Path | None
    clock: Path
    shape: Shape
    cores: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Order:
    """Let every node send up to `reports` reports, with bytes in every row of each, for at most `within_s`.

    `at_once` nodes wait for answers at a time. With a `period_s` each node sends one in every period, all of
    them spread evenly over it; without, each sends the next one as soon as it may.
    """

    reports: int
    at_once: int
    period_s: float = 0.0
    within_s: float = 120.0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of an order.

    `rows` are users named, once each also where a quarter of an hour ended; `rounds` are those of which the
    collector has confirmed all rows, by node. `answers_ms` are from the moment a report was due, or first
    sent, to its answer. `begun_late_ms` is the longest that one was sent after it was due and the
    one before was answered: where that is much, the generator was too slow.
    """

    rows: int
    took_s: float
    answers_ms: Sequence[float]
    rounds: Mapping[NodeId, int]
    sent_again: int = 0
    begun_late_ms: float = 0.0
    generator_cpu_s: float = 0.0
    wrong: Sequence[str] = field(default=())

    @property
    def rate(self) -> float:
        """Rows confirmed in a second."""
        return self.rows / self.took_s

    def answered_ms(self, percent: float) -> float:
        """The time within which so many percent of the reports were answered."""
        ranked = sorted(self.answers_ms)
        return ranked[min(len(ranked) - 1, math.ceil(len(ranked) * percent / 100) - 1)]
