"""Calls of a gRPC server on a unix socket, over one connection that is made when it is needed.

What always holds: a call ends by its deadline; one that is under way when its connection is lost or closed
ends as CoreDownError at once, and so does one that nobody takes, unless it is to wait; what the server may
have begun is never asked again. Written for one trusted server and methods that take one message and answer
with one: gRPC's own client takes more memory than all else that an agent imports.
"""

import asyncio
from pathlib import Path

from agent.drivers import base
from agent.drivers.xray import connection

_POLL_S = 0.02
#: How many connections in a row may be left before a call on them has begun.
_TRIES = 3


class Channel:
    """The way to one server; of no use any more once it is closed."""

    def __init__(self, socket_path: Path) -> None:
        self._path = socket_path
        self._connecting = asyncio.Lock()
        # Only the last may be usable; the others are there until the calls under way on them are over.
        self._connections: list[connection.Connection] = []
        self._closed = False

    async def call(self, head: bytes, request: bytes, deadline_s: float, *, wait: bool = False) -> bytes:
        """The answer to one call, of the method with this `connection.head`; `wait` for somebody to take it.

        Raises RefusedError, TimeoutError at the deadline, and CoreDownError when there is no connection.
        """
        async with asyncio.timeout(deadline_s):
            tries = 0
            while True:
                tries += 1
                found = await self._connected(wait=wait)
                try:
                    return await found.call(head, request)
                except connection.NotBegunError as error:
                    if not wait and (not error.elsewhere or tries == _TRIES):
                        raise
                if wait:
                    await asyncio.sleep(_POLL_S)

    def close(self) -> None:
        """Drop the connection; calls under way end as CoreDownError."""
        self._closed = True
        for each in self._connections:
            each.close("the connection to Xray was closed meanwhile")

    async def _connected(self, *, wait: bool) -> connection.Connection:
        while not self._closed:
            async with self._connecting:
                if found := await self._usable():
                    return found
            if not wait:
                raise base.CoreDownError("Xray cannot be reached")
            await asyncio.sleep(_POLL_S)
        raise base.CoreDownError("the connection to Xray has been closed")

    async def _usable(self) -> connection.Connection | None:
        """The connection there is, or a new one; None when nobody listens."""
        if self._connections and self._connections[-1].usable:
            return self._connections[-1]
        loop = asyncio.get_running_loop()
        try:
            _, made = await loop.create_unix_connection(connection.Connection, str(self._path))
        except OSError:
            return None
        self._connections = [*(each for each in self._connections if not each.lost), made]
        if self._closed:
            self.close()
        return made
