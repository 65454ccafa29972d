"""Hands events to whoever listens in this process, after their commit (row H13).

What always holds: nobody who writes waits for anybody who listens. Every receiver has a buffer of its own,
and what does not fit is dropped and counted. While nobody listens, nothing is read. Everything here runs on
the event loop's thread.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator

from collector.domain import events
from collector.domain.events import Recorded, Wanted

#: Events that wait in one receiver.
BUFFER = 1_000
#: Events read at once.
PAGE = 500
#: Commits of other processes wake nobody here, so they are looked for.
_LOOK_EVERY_S = 0.5
#: Commits that follow each other closely are read together.
_PAUSE_S = 0.05

Read = Callable[[int, int], Awaitable[list[Recorded]]]


class Receiver:
    """One listener; `dropped` counts the events that found its buffer full."""

    def __init__(self, wanted: Wanted, buffer: int) -> None:
        self._wanted = wanted
        self._buffer = buffer
        self._waiting: deque[Recorded] = deque()
        self._woken = asyncio.Event()
        self.dropped = 0
        self.closed = False

    @property
    def waiting(self) -> int:
        """How many events wait to be taken."""
        return len(self._waiting)

    def offer(self, event: Recorded) -> None:
        """Keep an event that is wanted, if there is room."""
        if not events.matches(event, self._wanted):
            return
        if len(self._waiting) >= self._buffer:
            self.dropped += 1
        else:
            self._waiting.append(event)
        self._woken.set()

    def close(self) -> None:
        """Make this and every later wait return at once."""
        self.closed = True
        self._woken.set()

    async def take(self, timeout_s: float) -> list[Recorded]:
        """What has come since the last call, waiting for something; empty after the time, or when closed."""
        if not self._waiting and not self.closed:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._woken.wait()
        self._woken.clear()
        taken = list(self._waiting)
        self._waiting.clear()
        return taken


class Receivers:
    """All listeners of this process."""

    def __init__(self) -> None:
        self._all: set[Receiver] = set()
        self._seen = 0
        self._news = asyncio.Event()
        self._closed = False

    @contextlib.contextmanager
    def listening(self, wanted: Wanted, since: int, buffer: int = BUFFER) -> Iterator[Receiver]:
        """Listen while the block runs. `since` is the number of an event that is stored already.

        Some of the events between it and now may have been handed out before: read those inside the block.
        """
        receiver = Receiver(wanted, buffer)
        if self._closed:
            receiver.close()
        if not self._all:
            self._seen = since
        self._all.add(receiver)
        self._news.set()
        try:
            yield receiver
        finally:
            self._all.discard(receiver)

    def wake(self) -> None:
        """There may be something new; call it after a commit."""
        if self._all:
            self._news.set()

    def hand(self, found: Iterable[Recorded]) -> None:
        """Give events to everybody who wants them."""
        for event in found:
            for receiver in self._all:
                receiver.offer(event)

    def close(self) -> None:
        """End every wait now and in future, so that the process can stop."""
        self._closed = True
        for receiver in self._all:
            receiver.close()

    def all(self) -> frozenset[Receiver]:
        """Those who listen."""
        return frozenset(self._all)

    async def look(self, read: Read) -> None:
        """Hand out what is new; `read` gives events after a number, at most so many."""
        more = True
        while self._all and more:
            seen = self._seen
            found = await read(seen, PAGE)
            # The last listener may have left meanwhile, and another one begun from another place.
            moved = seen != self._seen
            more = moved or len(found) == PAGE
            if found and not moved:
                self._seen = found[-1].number
                self.hand(found)

    async def follow(self, read: Read) -> None:
        """Hand out what is new, for ever."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_EVERY_S if self._all else None):
                    await self._news.wait()
            self._news.clear()
            await self.look(read)
            await asyncio.sleep(_PAUSE_S)
