"""`make bench`: measures the product and prints a table; the last line is one JSON object.

Every `bench_*.py` beside this file is one bench: a docstring and `measure(asked)`, which returns figures. To
run some of them: `python -m tests.bench cut memory`; `--help` tells what else may be asked.
"""

import dataclasses
import importlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.bench import asked as options
from tests.bench.asked import Asked
from tests.bench.figure import Figure
from tests.demo.stage import Stage, table
from tests.kit import lab

_PREFIX = "bench_"
_HEAD = ("figure", "value", "unit", "goal", "verdict")


def main(asked: Asked) -> int:
    """Measure what is wanted, or everything; a bench that breaks is said and does not stop the others."""
    stage, figures, broken = Stage(sys.stdout), [], {}
    if unknown := sorted(set(asked.benches) - set(_benches())):
        stage.plain(f"there is no bench {', '.join(unknown)}; there are {', '.join(_benches())}")
        return 2
    with lab.signals_raise():
        for name in asked.benches or _benches():
            stage.say(f"measuring {name}")
            try:
                figures += _measure(name, asked)
            except Exception as error:  # noqa: BLE001 - the other figures are still worth having
                broken[name] = f"{type(error).__name__}: {error}"
                stage.say(f"{name} broke: {broken[name]}")
                for note in getattr(error, "__notes__", ()):
                    stage.plain(note)
    _show(stage, figures, broken)
    return 1 if broken else 0


def _benches() -> list[str]:
    here = Path(__file__).parent
    return sorted(path.stem.removeprefix(_PREFIX) for path in here.glob(f"{_PREFIX}*.py"))


def _measure(name: str, asked: Asked) -> list[Figure]:
    return list(importlib.import_module(f"tests.bench.{_PREFIX}{name}").measure(asked))


def _show(stage: Stage, figures: Sequence[Figure], broken: dict[str, str]) -> None:
    stage.plain("")
    for line in table(_HEAD, [figure.row() for figure in figures]):
        stage.plain(line)
    last = {
        "ok": not broken and all(figure.met is not False for figure in figures),
        "broken": broken,
        "figures": {figure.name: dataclasses.asdict(figure) | {"met": figure.met} for figure in figures},
    }
    stage.plain(json.dumps(last))


if __name__ == "__main__":
    sys.exit(main(options.read(sys.argv[1:])))
