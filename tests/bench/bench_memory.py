"""Resident memory of agent and collector while nothing happens, without the core."""

import psutil

from tests.bench.asked import Asked
from tests.bench.figure import Figure
from tests.kit import fleet

_AGENT_GOAL_MB = 45.0
_COLLECTOR_GOAL_MB = 70.0


def measure(_asked: Asked) -> list[Figure]:
    """Resident set sizes of the idle fleet, after one user was served once."""
    with fleet.opened(("home",)) as everything:
        everything.served(everything.add_user("alice"))
        agent, collector = everything.agent.program, everything.collector.program
        if agent is None or collector is None:
            raise RuntimeError("agent and collector must run to be measured")
        return [
            _figure("agent, idle, without Xray", agent.pid, _AGENT_GOAL_MB),
            _figure("collector, idle", collector.pid, _COLLECTOR_GOAL_MB),
        ]


def _figure(name: str, pid: int, goal_mb: float) -> Figure:
    rss_mb = psutil.Process(pid).memory_info().rss / 2**20
    return Figure(name=f"{name}, resident", value=round(rss_mb, 1), unit="MiB", goal=goal_mb)
