"""`python -m tests.bench.load.served CLOCK CORES`: `tidegate-collector serve` on these cores, by that clock.

Nothing else of it is changed. Tokens go by the host's clock, so those given out before an advance stay good.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from collector import cli
from collector import main as program
from tests.bench.load.clock import Clock


def main(arguments: Sequence[str]) -> int:
    """Serve until told to stop; returns the exit status."""
    clock, cores = arguments
    os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
    program.now_ms = Clock(Path(clock)).now_ms
    return cli.main(["serve"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
