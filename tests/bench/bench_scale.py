"""The agent with 50,000 users on a real Xray: CPU of a poll in which all of them moved, and memory.

Every one of them makes a connection, twice: it takes minutes. Parts: `poll`, `memory`.
"""

import sys

from tests.bench import bench_agent
from tests.bench.asked import Asked
from tests.bench.figure import Figure
from tests.demo.stage import Stage

_USERS, _QUICK_USERS = 50_000, 200
_MEMORY_GOAL_MB = 120.0


def measure(asked: Asked) -> list[Figure]:
    """What is asked for."""
    count = _QUICK_USERS if asked.quick else _USERS
    say = Stage(sys.stderr).say
    figures: list[Figure] = []
    if asked.wants("poll"):
        figures += bench_agent.polls(count, say)
    if asked.wants("memory"):
        figures += bench_agent.memory(count, say, _MEMORY_GOAL_MB)
    return figures
