"""Managers' limits, carried out: whoever is below one who may have nobody served is stopped, and let go on.

What always holds: reports wait for one batch at most; a run after which nothing changed changes nobody. What
is remembered from run to run, notices and penalties, is in memory only: a restart forgets it, and the first
run after it lets go on whom nothing but a penalty stopped.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from collector.app import phases
from collector.domain.phases import Watch
from shared.names import ManagerId, NodeId, UserId

P = ParamSpec("P")
T = TypeVar("T")

#: Users in one transaction.
BATCH = 200


class Transactions(Protocol):
    """Runs app functions; the first argument of each is the session."""

    async def read(self, function: Callable[Concatenate[Any, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function that only reads, on one snapshot."""

    async def write(self, function: Callable[Concatenate[Any, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function and return after its commit."""


async def run(
    data: Transactions,
    wake: Callable[[Iterable[NodeId]], None],
    live: Callable[[], Mapping[UserId, int]],
    before: Mapping[ManagerId, Watch],
    now_ms: Callable[[], int],
) -> Mapping[ManagerId, Watch]:
    """Look at every manager, tell, and carry out; returns what to remember for the next run.

    `live` gives the sessions of each user who is online.
    """
    sessions = live()
    look = await data.read(phases.look, before, sessions, now_ms())
    if look.events:
        await data.write(phases.record, look.events)
    changed = BATCH
    while changed == BATCH:
        change = await data.write(phases.enforce, look.held, sessions, BATCH, now_ms())
        wake(change.nodes)
        changed = change.value
    pooled = BATCH
    while pooled == BATCH:
        change = await data.write(phases.pool, BATCH, now_ms())
        wake(change.nodes)
        pooled = change.value
    return look.watches
