"""Offers load to a collector, watches what it costs, and settles the account at the end.

What always holds: the generator and the prober are processes of their own, on the cores that the collector
does not have; they end with the block.
"""

import contextlib
import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from shared.names import NodeId
from tests.bench.load import account, generator, prober
from tests.bench.load import collector as collectors
from tests.bench.load.collector import Collector
from tests.bench.load.orders import Order, Outcome, Target
from tests.bench.load.shape import Shape

#: Beyond what an order may take: logging a thousand nodes in, or resending to the end.
_SLACK_S = 360.0

#: A fresh interpreter each: nothing of the parent's is copied.
_FRESH = multiprocessing.get_context("spawn")


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What an order took of the collector."""

    outcome: Outcome
    cpu_s: float
    peak_mb: float

    @property
    def core_percent(self) -> float:
        """Share of one core."""
        return 100 * self.cpu_s / self.outcome.took_s

    @property
    def us_a_row(self) -> float:
        """Microseconds of CPU a row, which is seconds a million."""
        return 1e6 * self.cpu_s / self.outcome.rows


@dataclass(kw_only=True)
class Load:
    """A fleet that reports to this collector; `rounds` are those confirmed so far, by node."""

    collector: Collector
    shape: Shape
    cores: tuple[int, ...]
    pipe: Connection
    rounds: Mapping[NodeId, int] = field(default_factory=dict)

    def offer(self, order: Order) -> Cost:
        """Have an order carried out. Raises RuntimeError when a row was not billed."""
        self.collector.forget_peak()
        before_s = self.collector.cpu_s()
        self.pipe.send(order)
        outcome: Outcome = _received(self.pipe, order.within_s + _SLACK_S)
        cost = Cost(
            outcome=outcome, cpu_s=self.collector.cpu_s() - before_s, peak_mb=self.collector.peak_mb()
        )
        if outcome.wrong:
            raise RuntimeError(f"{len(outcome.wrong)} reports were not billed whole: {outcome.wrong[0]}")
        self.rounds = outcome.rounds
        return cost

    def astray(self) -> int:
        """Bytes between what everybody pays and what was reported of him, added up."""
        return account.astray(self.collector, self.shape, self.rounds)


@contextlib.contextmanager
def opened(collector: Collector, shape: Shape, cores: tuple[int, ...]) -> Iterator[Load]:
    """A generator with every node of the fleet logged in."""
    target = Target(
        address=(collectors.HOST, collector.port),
        ca=collector.ca,
        clock=collector.clock.path,
        shape=shape,
        cores=cores,
    )
    with _process(generator.main, target) as pipe:
        _received(pipe, _SLACK_S)
        yield Load(collector=collector, shape=shape, cores=cores, pipe=pipe)


@contextlib.contextmanager
def probing(collector: Collector, cores: tuple[int, ...]) -> Iterator[Callable[[], prober.Answers]]:
    """Ask a light question every few milliseconds; what the block is given ends it and tells."""
    asked = prober.Probe(
        address=(collectors.HOST, collector.port),
        ca=collector.ca,
        token=collector.token,
        path="/users/1",
        cores=cores,
    )
    with _process(prober.main, asked) as pipe:

        def told() -> prober.Answers:
            pipe.send(None)
            answers: prober.Answers = _received(pipe, _SLACK_S)
            return answers

        yield told


def every_core() -> tuple[int, ...]:
    """All that this process may use."""
    return tuple(sorted(os.sched_getaffinity(0)))


def spare_cores(taken: Sequence[int]) -> tuple[int, ...]:
    """The cores that the collector leaves to the load; all where it leaves none."""
    return tuple(core for core in every_core() if core not in taken) or every_core()


@contextlib.contextmanager
def _process(main: Callable[[Connection, Any], None], argument: object) -> Iterator[Connection]:
    ours, theirs = _FRESH.Pipe()
    process = _FRESH.Process(target=main, args=(theirs, argument), daemon=True)
    process.start()
    theirs.close()
    try:
        yield ours
    finally:
        process.kill()
        process.join()
        ours.close()


def _received(pipe: Connection, within_s: float) -> Any:  # noqa: ANN401 - what the other side sends
    if not pipe.poll(within_s):
        raise TimeoutError(f"the load generator said nothing within {within_s:g} s")
    answer = pipe.recv()
    if isinstance(answer, Exception):
        raise answer
    return answer
