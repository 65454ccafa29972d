"""The clock: brings users, managers and nodes whose time has come to the present, in small transactions.

What always holds: a batch leaves nobody of it due, so a run ends, and one more changes nothing. Reports wait
for one batch at most.
"""

from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from collector.app import clock, nodes
from collector.domain.changes import Change
from shared.names import NodeId

P = ParamSpec("P")
T = TypeVar("T")

#: Users, or managers, in one transaction.
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
    now_ms: Callable[[], int],
    nudge: Callable[[], None] = lambda: None,
) -> None:
    """Advance everybody who is due, wake the nodes that serve them, nudge whoever carries limits out.

    Nodes whose period has ended begin the next one.
    """
    async for change in _batches(data, clock.advance_managers, now_ms):
        if change.managers:
            nudge()
    async for change in _batches(data, clock.advance, now_ms):
        wake(change.nodes)
    for node, moved in await data.read(nodes.due, now_ms()):
        await data.write(nodes.turn, node, moved, now_ms())


async def _batches(
    data: Transactions, advance: Callable[[Any, int, int], Change[int]], now_ms: Callable[[], int]
) -> AsyncIterator[Change[int]]:
    advanced = BATCH
    while advanced == BATCH:
        change = await data.write(advance, BATCH, now_ms())
        yield change
        advanced = change.value
