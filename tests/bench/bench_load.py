"""A fleet's reports on the collector: CPU, answers, memory, and whether every byte is billed.

The collector is its real process, durable on the disk below TMPDIR, with tokens and leases; the load comes
from processes of their own on the other cores. `--parts` chooses among those of `tests/bench/load/runs.py`.
"""

import dataclasses
import sys

from tests.bench.asked import Asked
from tests.bench.figure import Figure
from tests.bench.load import runs
from tests.demo.stage import Stage


def measure(asked: Asked) -> list[Figure]:
    """Figures of every part that is wanted."""
    bench = runs.Bench(asked=asked, say=Stage(sys.stderr).say)
    found = [figure for part, run in runs.PARTS.items() if asked.wants(part) for figure in run(bench)]
    return [_quick(figure) for figure in found] if asked.quick else found


def _quick(figure: Figure) -> Figure:
    """What a quick run shows: no figure of it says how fast anything is, but an account must be settled."""
    settled = figure.unit == runs.ASTRAY_UNIT
    return dataclasses.replace(figure, name=f"quick: {figure.name}", goal=figure.goal if settled else None)
