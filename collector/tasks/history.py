"""History: moves months that are over out of the database's way, and forgets those that are too old.

What always holds: every batch is complete by itself, so a run can end anywhere and the next one goes on; a
run with nothing left to do changes nothing. Reports wait for one batch at most. A month's file that cannot be
used keeps its own rows in the database and nothing else.
"""

import logging
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from collector.app import history
from shared import logs

LOGGER = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

#: How often a batch is copied again in one run because late bytes came between.
_PATIENCE = 10


class Transactions(Protocol):
    """Runs app functions; the first argument of each is the session."""

    async def read(self, function: Callable[Concatenate[Any, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function that only reads the database."""

    async def write(self, function: Callable[Concatenate[Any, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function and return after its commit."""


async def run(data: Transactions, months: int, now_ms: Callable[[], int]) -> None:
    """Forget what is older than so many closed months (0: nothing), then move what is over."""
    await data.write(history.prepared, now_ms())
    await _forget(data, months, now_ms())
    await _move(data, now_ms())


async def _forget(data: Transactions, months: int, now_ms: int) -> None:
    while await data.write(history.expired, months, now_ms):
        pass
    for name in await data.read(history.dropped, months, now_ms):
        logs.event(LOGGER, logging.INFO, "history_dropped", file=name)


async def _move(data: Transactions, now_ms: int) -> None:
    stuck: frozenset[int] = frozenset()
    batches, patience = 0, _PATIENCE
    while patience and (batch := await data.read(history.copied, now_ms, stuck)) is not None:
        if isinstance(batch, history.Stuck):
            stuck |= {batch.month}
            logs.event(LOGGER, logging.ERROR, "history_stuck", month=batch.name, reason=batch.reason)
        elif await data.write(history.moved, batch):
            batches += 1
        else:
            patience -= 1
    if batches:
        logs.event(LOGGER, logging.INFO, "history_moved", batches=batches)
