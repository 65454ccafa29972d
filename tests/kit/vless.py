"""A VLESS client over plain TCP, small enough to be seen right: one connection is one tunnel to one target.

Request: version 0, UUID, no addons, command TCP, port, IPv4 address; the answer begins with version 0 and the
length of its addons. The client's own address can be chosen, so that several users share one address.
"""

import asyncio
import ipaddress
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

_TCP = 1
_IPV4 = 1


class RefusedError(Exception):
    """The server closed the tunnel before it answered."""


@dataclass
class Tunnel:
    """A stream to the target through the server; `taken` counts bytes of payload that arrived."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    taken: int = 0
    _answered: bool = False

    async def send(self, data: bytes) -> None:
        """Send payload."""
        self.writer.write(data)
        await self.writer.drain()

    async def take(self, limit: int = 1 << 16) -> bytes:
        """Some payload, empty at the end. Raises RefusedError or ConnectionError when it was torn down."""
        if not self._answered:
            try:
                head = await self.reader.readexactly(2)
                await self.reader.readexactly(head[1])
            except (asyncio.IncompleteReadError, ConnectionError) as error:
                raise RefusedError from error
            self._answered = True
        data = await self.reader.read(limit)
        self.taken += len(data)
        return data

    async def request(self, path: str) -> int:
        """Send a GET; returns the length of the body that follows, its head taken."""
        await self.send(f"GET {path} HTTP/1.1\r\nHost: source\r\n\r\n".encode())
        head = b""
        while b"\r\n\r\n" not in head:
            data = await self.take(1)
            if not data:
                raise RefusedError
            head += data
        return int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])

    async def get(self, path: str) -> int:
        """Fetch a path of the source whole; returns the bytes of the body that arrived before an end."""
        left = await self.request(path)
        began = self.taken
        while self.taken - began < left:
            if not await self.take(left - (self.taken - began)):
                break
        return self.taken - began

    async def ended(self) -> bool:
        """Read until the other side ends the tunnel; True when it was torn down rather than closed."""
        try:
            while await self.take():
                pass
        except ConnectionError:
            return True
        return False

    async def close(self) -> None:
        """Close it."""
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except ConnectionError:
            return


@asynccontextmanager
async def tunnel(
    server_port: int,
    credential: str,
    target_port: int,
    *,
    server: str = "127.0.0.1",
    target: str = "127.0.0.1",
    source: str = "127.0.0.1",
) -> AsyncIterator[Tunnel]:
    """Connect from a source address; whether the server likes the credential shows with the first answer."""
    reader, writer = await asyncio.open_connection(server, server_port, local_addr=(source, 0))
    head = bytes([0]) + uuid.UUID(credential).bytes + bytes([0, _TCP]) + target_port.to_bytes(2, "big")
    writer.write(head + bytes([_IPV4]) + ipaddress.IPv4Address(target).packed)
    opened = Tunnel(reader, writer)
    try:
        yield opened
    finally:
        await opened.close()
