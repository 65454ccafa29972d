"""What is measured of a collector under load, one function a part; each settles the account at its end.

What always holds: every run is bounded in reports and in time and ends by itself, and a run after which any
user pays another sum than was reported of him, by as much as a byte, says so in its figures.
"""

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from shared.names import QUARTER_MS
from tests.bench.asked import Asked
from tests.bench.figure import Figure
from tests.bench.load import collector as collectors
from tests.bench.load import offering, seeding
from tests.bench.load.collector import HOUR_MS
from tests.bench.load.offering import Cost, Load
from tests.bench.load.orders import Order
from tests.bench.load.shape import Mix, Shape

_MIXES: tuple[Mix, ...] = ("unlimited", "half", "limited", "pooled")
_ROUND_GOAL_S = {"sqlite": 0.5, "postgres": 1.3}
_RATE_GOAL = 150_000
_ANSWER_GOAL_MS, _SHARE_GOAL_PERCENT, _PROBE_GOAL_MS = 50.0, 30.0, 10.0
_FLAT_GOAL = 3.0
ASTRAY_UNIT = "B"
_MEMORY_GOAL_MB = 150.0

ALL_AT_ONCE = Order(reports=1, at_once=50)
_ONE_BY_ONE = Order(reports=1, at_once=1)


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What a part needs: what was asked for, and where it says how far it is."""

    asked: Asked
    say: Callable[[str], None]

    @contextmanager
    def load(
        self, shape: Shape, *, tls: bool = False, cores: Sequence[int] = (collectors.CORE,)
    ) -> Iterator[Load]:
        """A collector with this fleet, or a small one of the same kind where a quick look was asked for."""
        shape = _small(shape) if self.asked.quick else shape
        self.say(f"making {shape.users:,} users on {shape.nodes:,} nodes ({shape.mix})")
        spare = offering.spare_cores(cores)
        with (
            collectors.opened(shape, engine=self.asked.engine, tls=tls, cores=cores) as served,
            offering.opened(served, shape, spare) as load,
        ):
            yield load

    def offer(self, name: str, load: Load, order: Order) -> Cost:
        """Have an order carried out, and say what it took."""
        cost = load.offer(self.shortened(order))
        out = cost.outcome
        self.say(
            f"{name}: {out.rows:,} rows in {out.took_s:.2f} s, {cost.cpu_s:.2f} CPU-s,"
            f" {cost.us_a_row:.1f} us a row, answers p50 {out.answered_ms(50):.0f}"
            f" p99 {out.answered_ms(99):.0f} ms, {cost.peak_mb:.0f} MiB"
        )
        return cost

    def shortened(self, order: Order) -> Order:
        """The order, or as little of it as shows that it works."""
        if not self.asked.quick:
            return order
        return replace(order, reports=min(order.reports, 3), period_s=min(order.period_s, 0.5), within_s=5.0)


def rounds(bench: Bench) -> Iterator[Figure]:
    """Every one of 100,000 users once: for the first time, again, and after all that may make it dearer."""
    for mix in _MIXES:
        with bench.load(Shape(users=100_000, nodes=50, rows=2_000, mix=mix)) as load:
            goal_s = _ROUND_GOAL_S[bench.asked.engine]
            load.collector.clock.begin_hour()
            for name, before, order, times in _ROUNDS:
                before(load)
                costs = [bench.offer(f"{name}, {mix}", load, order).cpu_s for _ in range(times)]
                yield _figure(f"{name} of 100,000 users, {mix}", statistics.median(costs), "CPU-s", goal_s)
            yield _account(f"rounds, {mix}", load)


def _commit_elsewhere(load: Load) -> None:
    """Commit something in another process, as the command line does."""
    seeding.note(load.collector.store, load.collector.clock.now_ms())


#: What is offered after what, and how often: of more than one the median counts.
_ROUNDS: tuple[tuple[str, Callable[[Load], None], Order, int], ...] = (
    ("first round", lambda _: None, ALL_AT_ONCE, 1),
    ("round", lambda _: None, ALL_AT_ONCE, 5),
    ("round, nodes one by one", lambda _: None, _ONE_BY_ONE, 5),
    (
        "round that ends a quarter of an hour",
        lambda load: load.collector.clock.advance(QUARTER_MS),
        ALL_AT_ONCE,
        1,
    ),
    ("round that ends an hour", lambda load: load.collector.clock.advance(HOUR_MS), ALL_AT_ONCE, 1),
    ("round after a command's commit", _commit_elsewhere, ALL_AT_ONCE, 1),
    ("round after a restart", lambda load: load.collector.restart(), ALL_AT_ONCE, 1),
)


def closed(bench: Bench) -> Iterator[Figure]:
    """Fifty nodes that never rest: what one core can take."""
    with bench.load(Shape(users=100_000, nodes=50, rows=2_000)) as load:
        bench.offer("first round", load, ALL_AT_ONCE)
        cost = bench.offer("50 nodes without rest", load, Order(reports=200, at_once=50, within_s=20.0))
        name = "50 nodes without rest"
        yield Figure(
            name=f"{name}, rows", value=round(cost.outcome.rate), unit="1/s", goal=_RATE_GOAL, better="higher"
        )
        yield _figure(f"{name}, CPU a million rows", cost.us_a_row, "CPU-s")
        yield _figure(f"{name}, answer p99", cost.outcome.answered_ms(99), "ms")
        yield _figure(f"{name}, generator's share of a core", _generator_percent(cost), "%")
        yield _figure(f"{name}, collector's memory", cost.peak_mb, "MiB", _MEMORY_GOAL_MB)
        yield _account(name, load)


def paced(bench: Bench) -> Iterator[Figure]:
    """Five hundred nodes, each with a report of 1,000 rows every ten seconds; then somebody looks on, too."""
    order = Order(reports=3, at_once=500, period_s=10.0, within_s=60.0)
    with bench.load(Shape(users=100_000, nodes=500, rows=1_000)) as load:
        bench.offer("first reports", load, ALL_AT_ONCE)
        name = "50,000 rows a second of 500 nodes"
        yield from _paced(name, bench.offer(name, load, order))
        name = f"{name}, probed"
        with offering.probing(load.collector, load.cores) as told:
            cost = bench.offer(name, load, order)
            probes = told()
        yield from _paced(name, cost)
        yield _figure(f"{name}, the probe's answer p50", probes.within_ms(50), "ms")
        yield _figure(f"{name}, the probe's answer p99", probes.within_ms(99), "ms", _PROBE_GOAL_MS)
        yield _account(name, load)


def _paced(name: str, cost: Cost) -> Iterator[Figure]:
    out = cost.outcome
    for percent, goal_ms in ((50, None), (99, _ANSWER_GOAL_MS), (100, None)):
        yield _figure(f"{name}, answer {_percentile(percent)}", out.answered_ms(percent), "ms", goal_ms)
    yield _figure(f"{name}, share of a core", cost.core_percent, "%", _SHARE_GOAL_PERCENT)
    yield _figure(f"{name}, report begun late at most", out.begun_late_ms, "ms")
    yield _figure(f"{name}, collector's memory", cost.peak_mb, "MiB", _MEMORY_GOAL_MB)


def flat(bench: Bench) -> Iterator[Figure]:
    """The cost of a row with more and more users, and whether a million reported every ten seconds pass."""
    taken: dict[int, float] = {}
    for users in (10_000, 100_000, 1_000_000):
        with bench.load(
            Shape(users=users, nodes=users // 1_000, rows=1_000),
            cores=(collectors.CORE,),
        ) as load:
            bench.offer(f"first round of {users:,}", load, Order(reports=1, at_once=10))
            cost = bench.offer(f"round of {users:,}", load, Order(reports=1, at_once=10))
            taken[users] = cost.us_a_row
            yield _figure(f"CPU a million rows, {users:,} users", cost.us_a_row, "CPU-s")
            if users == max(taken) == 1_000_000:
                yield from _million(bench, load)
            yield _account(f"{users:,} users", load)
    yield _figure(
        "dearest row to cheapest, by users", max(taken.values()) / min(taken.values()), "x", _FLAT_GOAL
    )


def _million(bench: Bench, load: Load) -> Iterator[Figure]:
    name, periods = "1,000,000 users every 10 s", 3
    load.collector.allow(offering.every_core())
    order = Order(reports=periods, at_once=load.shape.nodes, period_s=10.0, within_s=60.0)
    cost = bench.offer(name, load, order)
    yield _figure(f"{name}, behind at the end", cost.outcome.took_s - periods * order.period_s, "s", 1.0)
    yield _figure(f"{name}, answer p99", cost.outcome.answered_ms(99), "ms")
    yield _figure(f"{name}, share of a core", cost.core_percent, "%")
    yield _figure(f"{name}, collector's memory", cost.peak_mb, "MiB")


def overload(bench: Bench) -> Iterator[Figure]:
    """Five hundred nodes that never rest, more than one core can take: what grows, and what is lost."""
    with bench.load(Shape(users=100_000, nodes=500, rows=1_000)) as load:
        cost = bench.offer("500 nodes without rest", load, Order(reports=100, at_once=500, within_s=30.0))
        name, out = "500 nodes without rest", cost.outcome
        yield _figure(f"{name}, rows", round(out.rate), "1/s")
        yield _figure(f"{name}, collector's memory", cost.peak_mb, "MiB", _MEMORY_GOAL_MB)
        for percent in (50, 99, 100):
            yield _figure(f"{name}, answer {_percentile(percent)}", out.answered_ms(percent), "ms")
        yield _figure(f"{name}, reports sent again", out.sent_again, "")
        yield _account(name, load)


def tls(bench: Bench) -> Iterator[Figure]:
    """The same round over the collector's own TLS, for the difference."""
    for over, named in ((False, "HTTP"), (True, "TLS")):
        with bench.load(Shape(users=100_000, nodes=50, rows=2_000), tls=over) as load:
            bench.offer(f"first round over {named}", load, ALL_AT_ONCE)
            cost = bench.offer(f"round over {named}", load, ALL_AT_ONCE)
            yield _figure(f"round of 100,000 users over {named}", cost.cpu_s, "CPU-s")
            yield _account(f"round over {named}", load)


PARTS: dict[str, Callable[[Bench], Iterator[Figure]]] = {
    "rounds": rounds,
    "closed": closed,
    "paced": paced,
    "flat": flat,
    "overload": overload,
    "tls": tls,
}


def _small(shape: Shape) -> Shape:
    return Shape(
        users=200, nodes=2 * max(1, shape.nodes * shape.rows // shape.users), rows=100, mix=shape.mix
    )


def _generator_percent(cost: Cost) -> float:
    return 100 * cost.outcome.generator_cpu_s / cost.outcome.took_s


def _percentile(percent: int) -> str:
    return "slowest" if percent == 100 else f"p{percent}"


def _account(name: str, load: Load) -> Figure:
    return Figure(name=f"{name}: bytes astray", value=load.astray(), unit=ASTRAY_UNIT, goal=0)


def _figure(name: str, value: float, unit: str, goal: float | None = None) -> Figure:
    return Figure(name=name, value=round(value, 3), unit=unit, goal=goal)
