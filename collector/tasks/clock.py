"""The clock: brings users whose time has come to the present, in small transactions.

What always holds: a batch leaves nobody of it due, so a run ends, and one more changes nothing. Reports wait
for one batch at most.
"""

from collections.abc import Callable, Iterable
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from collector.app import clock
from shared.names import NodeId

P = ParamSpec("P")
T = TypeVar("T")

#: Users in one transaction.
BATCH = 200


class Writes(Protocol):
    """Runs app functions; the first argument of each is the session."""

    async def write(self, function: Callable[Concatenate[Any, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function and return after its commit."""


async def run(data: Writes, wake: Callable[[Iterable[NodeId]], None], now_ms: Callable[[], int]) -> None:
    """Advance everybody who is due, and wake the nodes that serve them."""
    advanced = BATCH
    while advanced == BATCH:
        change = await data.write(clock.advance, BATCH, now_ms())
        wake(change.nodes)
        advanced = change.value
