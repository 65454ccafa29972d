"""Calls of a gRPC server on a unix socket, over one connection that is made when it is needed.

What always holds: a call ends by its deadline; one whose connection cannot be made, or is lost or closed,
ends as CoreDownError at once, and the next one makes another connection. Written for one trusted server and
methods that take one message and answer with one: gRPC's own client takes more memory than all else that an
agent imports.
"""

import asyncio
from pathlib import Path

from agent.drivers import base
from agent.drivers.xray import connection

_POLL_S = 0.02


class Channel:
    """The way to one server; of no use any more once it is closed."""

    def __init__(self, socket_path: Path) -> None:
        self._path = socket_path
        self._connecting = asyncio.Lock()
        self._connection: connection.Connection | None = None
        self._closed = False

    async def call(self, head: bytes, request: bytes, deadline_s: float, *, wait: bool = False) -> bytes:
        """The answer to one call, of the method with this `connection.head`; `wait` for somebody to listen.

        Raises RefusedError, TimeoutError at the deadline, and CoreDownError when there is no connection.
        """
        async with asyncio.timeout(deadline_s):
            return await (await self._connected(wait=wait)).call(head, request)

    async def close(self) -> None:
        """Drop the connection; calls under way end as CoreDownError."""
        self._closed = True
        async with self._connecting:
            if self._connection:
                self._connection.close("the connection to Xray was closed meanwhile")

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
        if self._connection is None or not self._connection.usable:
            loop = asyncio.get_running_loop()
            try:
                _, made = await loop.create_unix_connection(connection.Connection, str(self._path))
            except OSError:
                return None
            self._connection = made
        return self._connection
