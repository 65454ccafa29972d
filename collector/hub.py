"""Wakes whoever waits for news of a node; carries no data.

What always holds: a wake between a listener's registration and its wait is not lost, so a caller listens
first, reads the state second and waits third. Everything here runs on the event loop's thread.
"""

import asyncio
import contextlib
from collections.abc import Iterable, Iterator

from shared.names import NodeId


class Ear:
    """One listener of one node, from its registration on; once closed, no wait lasts."""

    def __init__(self, *, closed: bool) -> None:
        self._woken = asyncio.Event()
        self.closed = closed

    def wake(self) -> None:
        """Make the present or the next wait return at once."""
        self._woken.set()

    def close(self) -> None:
        """Make this and every later wait return at once."""
        self.closed = True
        self._woken.set()

    async def wait(self, timeout_s: float) -> bool:
        """True when woken since the last wait; False after the time, or when the hub has closed."""
        if not self.closed:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._woken.wait()
        woken = self._woken.is_set() and not self.closed
        self._woken.clear()
        return woken


class Hub:
    """The listeners of every node, and the one of our own that carries managers' limits out."""

    def __init__(self) -> None:
        self.managers = Ear(closed=False)
        self._ears: dict[NodeId, set[Ear]] = {}
        self._closed = False

    @contextlib.contextmanager
    def listening(self, node: NodeId) -> Iterator[Ear]:
        """Listen for a node while the block runs; read the state inside it, then wait."""
        ear = Ear(closed=self._closed)
        ears = self._ears.setdefault(node, set())
        ears.add(ear)
        try:
            yield ear
        finally:
            ears.discard(ear)
            if not ears and self._ears.get(node) is ears:
                del self._ears[node]

    def wake(self, nodes: Iterable[NodeId]) -> None:
        """Wake the listeners of these nodes; call it after the commit that they are to see."""
        for node in nodes:
            for ear in self._ears.get(node, ()):
                ear.wake()

    def wake_all(self) -> None:
        """Wake everybody, when it is not known whom a commit concerns."""
        self.wake(list(self._ears))

    def close(self) -> None:
        """End every wait now and in future, so that the process can stop."""
        self._closed = True
        for ears in self._ears.values():
            for ear in ears:
                ear.close()

    def waiting(self) -> int:
        """How many listeners there are."""
        return sum(len(ears) for ears in self._ears.values())
