"""Turns: how much work of one kind is under way at once, so that a crowd makes it wait and nothing else.

What always holds: what waits is not decoded, and is begun in the order in which it came; whoever waited too
long is sent away before his patience ends, and for whoever left meanwhile nothing is done. So the work begun
is work that somebody waits for, however many ask.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus

from starlette.requests import ClientDisconnect

from collector.fronts.rest import problems


class Turns:
    """At most `most` at once; who has not got one within `patience_s` seconds is refused."""

    def __init__(self, most: int, patience_s: float) -> None:
        self._free = asyncio.Semaphore(most)
        self._patience_s = patience_s

    @asynccontextmanager
    async def one(self, hung_up: Callable[[], Awaitable[bool]]) -> AsyncIterator[None]:
        """Work while the block runs. Raises Rejected after the patience, ClientDisconnect if nobody waits."""
        waits = self._free.locked()
        try:
            async with asyncio.timeout(self._patience_s):
                await self._free.acquire()
        except TimeoutError:
            detail = "the collector has more reports to book than it can; send this one again later"
            raise problems.Rejected(HTTPStatus.SERVICE_UNAVAILABLE, detail) from None
        try:
            if waits and await hung_up():
                raise ClientDisconnect
            yield
        finally:
            self._free.release()
