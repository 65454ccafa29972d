"""Where the CPU of a round of reports goes: shares of the collector's parts, and its dearest functions.

Rounds of 100,000 users, half of them limited, fifty nodes at once, after the first; sampled from outside.
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.bench.asked import Asked
from tests.bench.figure import Figure
from tests.bench.load import runs, sampling
from tests.bench.load.orders import Order
from tests.bench.load.sampling import Stacks
from tests.bench.load.shape import Shape
from tests.demo.stage import Stage, table

_SHOWN = 15
#: Enough samples for a share to be right within a percent.
_SAMPLED_CPU_S = 8.0
_MOST_ROUNDS = 40

#: Parts of paths, in the order in which they are tried, and whose time is spent there.
_AREAS = {
    "/collector/store/": "database",
    "/peewee": "database",
    "/collector/domain/": "decisions",
    "/collector/app/": "use cases",
    "/jwt/": "tokens",
    "/collector/tokens": "tokens",
    "/collector/fronts/": "our own front",
    "/starlette/": "starlette",
    "/uvicorn/": "uvicorn",
}


def measure(asked: Asked) -> list[Figure]:
    """Shares in percent; the functions are printed."""
    stage = Stage(sys.stderr)
    bench = runs.Bench(asked=asked, say=stage.say)
    with (
        bench.load(Shape(users=100_000, nodes=50, rows=2_000)) as load,
        tempfile.TemporaryDirectory(prefix="tidegate-profile-") as name,
    ):
        order = Order(reports=1, at_once=50)
        once = bench.offer("first round", load, order)
        once = bench.offer("round", load, order)
        rounds = 1 if asked.quick else min(_MOST_ROUNDS, 1 + int(_SAMPLED_CPU_S / once.cpu_s))
        with sampling.watching(load.collector.program.pid, Path(name) / "stacks") as told:
            cost = bench.offer("rounds that are watched", load, Order(reports=rounds, at_once=50))
            stacks = told()
    _show(stage, stacks)
    shares = sampling.by_area(stacks, _AREAS)
    return [
        Figure(name="round of 100,000 users, not watched", value=round(once.cpu_s, 3), unit="CPU-s"),
        Figure(name="round of 100,000 users, watched", value=round(cost.cpu_s / rounds, 3), unit="CPU-s"),
        *(
            Figure(name=f"share of {area or 'everything else'}", value=_percent(count, stacks), unit="%")
            for area, count in shares.most_common()
        ),
    ]


def _show(stage: Stage, stacks: Stacks) -> None:
    own, whole = sampling.by_function(stacks)
    for head, found in (("in itself", own), ("with what it calls", whole)):
        rows: Sequence[tuple[float, str]] = [
            (_percent(count, stacks), name) for name, count in found.most_common(_SHOWN)
        ]
        stage.plain("")
        for line in table(("%", f"function, {head}"), rows):
            stage.plain(line)


def _percent(count: int, stacks: Stacks) -> float:
    return round(100 * count / max(1, sum(stacks.values())), 1)
