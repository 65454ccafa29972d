"""What the caller of the bench has asked for."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

Engine = Literal["sqlite", "postgres"]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """`benches` are the wanted ones, none for all; `parts` those of a bench that has parts, none for all.

    `quick` is a variant of seconds that shows that a bench works, not how fast anything is.
    """

    benches: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    quick: bool = False
    engine: Engine = "sqlite"

    def wants(self, part: str) -> bool:
        """Whether this part is to be measured."""
        return not self.parts or part in self.parts


def read(arguments: Sequence[str]) -> Asked:
    """What a command line asks for; ends the process with a usage message when it is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measures the product.")
    parser.add_argument("benches", nargs="*", metavar="BENCH", help="which; all when none is named")
    parser.add_argument("--parts", default="", metavar="A,B", help="of benches that have parts, these only")
    parser.add_argument("--quick", action="store_true", help="small and short: does it work")
    parser.add_argument(
        "--engine", choices=get_args(Engine), default="sqlite", help="the database under load"
    )
    found = parser.parse_args(arguments)
    return Asked(
        benches=tuple(found.benches),
        parts=tuple(filter(None, found.parts.split(","))),
        quick=found.quick,
        engine=found.engine,
    )
