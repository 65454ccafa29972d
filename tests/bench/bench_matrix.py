"""Every protocol x transport x security with three real clients: how many pass, and the table of them."""

import sys
import tempfile
from pathlib import Path

from tests.bench.asked import Asked
from tests.bench.figure import Figure
from tests.demo.stage import Stage, table
from tests.kit import lab
from tests.matrix import play
from tests.matrix.combinations import CLIENTS


def measure(_asked: Asked) -> list[Figure]:
    """The combinations whose bytes all passed and were counted to the byte, against those that were tried."""
    with (
        lab.opened(["node"]) as places,
        tempfile.TemporaryDirectory(prefix="tidegate-bench-") as name,
        places["node"].inside(),
    ):
        outcomes = play.run(Path(name), places["node"])
    show = Stage(sys.stderr).plain
    for line in table(("combination", *CLIENTS), list(play.table(outcomes))):
        show(line)
    tried = [one for one in outcomes if not one.unsupported]
    return [
        Figure(
            name="protocol x transport x security x client, exact to the byte",
            value=sum(one.good for one in tried),
            unit=f"of {len(tried)}",
            goal=len(tried),
            better="higher",
        ),
        Figure(
            name="endpoints of the matrix", value=len({one.combination for one in outcomes}), unit="endpoints"
        ),
    ]
