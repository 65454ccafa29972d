"""Minutes of the whole system at work, and how often a client's address is found in what it wrote and said.

`TIDEGATE_BENCH_PRIVACY_S` says for how many seconds; three minutes unless it is set.
"""

import os
import sys

from tests.bench.asked import Asked
from tests.bench.figure import Figure
from tests.demo.stage import Stage
from tests.kit import lab
from tests.system import privacy

_SECONDS = 180.0


def measure(_asked: Asked) -> list[Figure]:
    """What was searched and what was found."""
    if reason := lab.why_no_namespaces():
        raise RuntimeError(f"clients need addresses of their own: {reason}")
    seconds = float(os.environ.get("TIDEGATE_BENCH_PRIVACY_S", _SECONDS))
    stage = Stage(sys.stdout)
    with privacy.opened() as fleet:
        evidence = privacy.soak(fleet, seconds, lambda rounds: stage.progress(f"{rounds} rounds"))
        if not privacy.knows(fleet, fleet.lab["hub"].address):
            raise RuntimeError("the search does not even find the collector's own address")
    for where, spelled in evidence.found.items():
        stage.say(f"{where} as {', '.join(spelled)}")
    return [
        Figure(name="privacy: rounds with a kill each", value=evidence.rounds, unit=""),
        Figure(name="privacy: downloads", value=evidence.downloads, unit=""),
        Figure(name="privacy: messages about sessions", value=evidence.sightings, unit=""),
        Figure(name="privacy: penalties", value=evidence.penalties, unit=""),
        Figure(name="privacy: files and messages searched", value=evidence.searched_bytes, unit="B"),
        Figure(name="privacy: client addresses found", value=len(evidence.found), unit="", goal=0),
    ]
