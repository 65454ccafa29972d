"""A fleet's reports on the collector: CPU, answers, memory, and whether every byte is billed.

The collector is its real process, durable on the disk below TMPDIR, with tokens and leases; the load comes
from processes of their own on the other cores. `--parts` chooses among those of `tests/bench/load/runs.py`.
"""

import dataclasses
import sys
from collections.abc import Iterator

from tests.bench.asked import Asked
from tests.bench.figure import Figure
from tests.bench.load import runs
from tests.demo.stage import Stage


def measure(asked: Asked) -> list[Figure]:
    """Figures of every part that is wanted."""
    bench = runs.Bench(asked=asked, say=Stage(sys.stderr).say)
    found = [figure for part in runs.PARTS if asked.wants(part) for figure in _figures(part, bench)]
    return [_quick(figure) for figure in found] if asked.quick else found


def _figures(part: str, bench: runs.Bench) -> Iterator[Figure]:
    """What a part measures, and at its end whether it broke: the others are still worth having."""
    broke = 0
    try:
        yield from runs.PARTS[part](bench)
    except Exception as error:  # noqa: BLE001 - said here, and missed as a goal
        broke = 1
        bench.say("\n".join([f"{part} broke: {error}", *getattr(error, "__notes__", ())]))
    yield Figure(name=f"{part} broke", value=broke, unit="", goal=0)


def _quick(figure: Figure) -> Figure:
    """What a quick run shows: no figure of it says how fast anything is, but an account must be settled."""
    settled = figure.unit == runs.ASTRAY_UNIT
    return dataclasses.replace(figure, name=f"quick: {figure.name}", goal=figure.goal if settled else None)
