"""Where the CPU of a round of reports goes: shares of the collector's parts, and its dearest functions.

Rounds of 100,000 users, half of them limited, fifty nodes at once, sampled from outside: the first one, those
after it, and those in which a quarter or an hour ends. `--parts` chooses.
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from shared.names import QUARTER_MS
from tests.bench.asked import Asked
from tests.bench.figure import Figure
from tests.bench.load import runs, sampling
from tests.bench.load.collector import HOUR_MS
from tests.bench.load.sampling import Stacks
from tests.bench.load.shape import Shape
from tests.demo.stage import Stage, table

_SHOWN = 15
#: Enough samples for a share to be right within a percent.
_SAMPLED_CPU_S = 8.0
_MOST_ROUNDS = 40

#: The rounds to watch, by how far the clock is put ahead before each.
PARTS = {"first": 0, "round": 0, "quarter": QUARTER_MS, "hour": HOUR_MS}

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
    """Shares in percent of each part that is wanted; the functions are printed."""
    stage = Stage(sys.stderr)
    return [figure for part in PARTS if asked.wants(part) for figure in _profiled(part, asked, stage)]


def _profiled(part: str, asked: Asked, stage: Stage) -> list[Figure]:
    bench = runs.Bench(asked=asked, say=stage.say)
    with (
        bench.load(Shape(users=100_000, nodes=50, rows=2_000)) as load,
        tempfile.TemporaryDirectory(prefix="tidegate-profile-") as name,
    ):
        load.collector.clock.begin_hour()
        if part != "first":
            for _ in range(2):
                bench.offer("round that is not watched", load, runs.ALL_AT_ONCE)
        with sampling.watching(load.collector.program.pid, Path(name) / "stacks") as told:
            cpu_s, rounds = 0.0, 0
            while rounds == 0 or (cpu_s < _SAMPLED_CPU_S and rounds < _MOST_ROUNDS and part != "first"):
                load.collector.clock.advance(PARTS[part])
                cpu_s += bench.offer(f"{part}, watched", load, runs.ALL_AT_ONCE).cpu_s
                rounds += 1
            stacks = told()
    _show(stage, stacks)
    shares = sampling.by_area(stacks, _AREAS)
    return [
        Figure(name=f"{part}: CPU of 100,000 users, watched", value=round(cpu_s / rounds, 3), unit="CPU-s"),
        *(
            Figure(name=f"{part}: share of {area or 'the rest'}", value=_percent(count, stacks), unit="%")
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
