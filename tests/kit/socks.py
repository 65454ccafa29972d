"""SOCKS5 (RFC 1928) from inside a test's own event loop: streams, and datagrams through an association.

No authentication, IPv4 only. A stream is for HTTP with `tests.kit.source`; datagrams are for any server.
"""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

from tests.kit import vless

_LOOPBACK = "127.0.0.1"
_CONNECT, _ASSOCIATE = 1, 3
_HELLO = b"\x05\x01\x00"


class RefusedError(Exception):
    """The proxy said no."""


@asynccontextmanager
async def tunnel(proxy_port: int, target_port: int, target: str = _LOOPBACK) -> AsyncIterator[vless.Tunnel]:
    """A stream to the target through the proxy; `ended` and `get` work as they do without one."""
    reader, writer = await asyncio.open_connection(_LOOPBACK, proxy_port)
    opened = vless.Tunnel(reader, writer, _answered=True)
    try:
        await _ask(reader, writer, _CONNECT, target, target_port)
        yield opened
    finally:
        await opened.close()


class Datagrams(asyncio.DatagramProtocol):
    """Datagrams to one target through a proxy; `taken` counts bytes of payload that came back."""

    def __init__(self, target: str, port: int) -> None:
        self.taken = 0
        self._head = b"\0\0\0\x01" + socket.inet_aton(target) + struct.pack("!H", port)
        self._transport: asyncio.DatagramTransport | None = None
        self._came = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, _from: object) -> None:
        self.taken += len(data) - len(self._head)
        self._came.set()

    def error_received(self, _error: Exception) -> None:
        """A proxy that has gone is seen by what no longer comes back."""

    def send(self, data: bytes) -> None:
        """Send one datagram."""
        assert self._transport is not None
        self._transport.sendto(self._head + data)

    async def answered(self, data: bytes = b"?", *, within_s: float = 1.0) -> bool:
        """Whether something comes back within that time; what is sent is sent again until then."""
        self._came.clear()
        try:
            async with asyncio.timeout(within_s):
                while not self._came.is_set():
                    self.send(data)
                    try:
                        await asyncio.wait_for(self._came.wait(), within_s / 8)
                    except TimeoutError:
                        continue
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        """Close the socket."""
        if self._transport is not None:
            self._transport.close()


@asynccontextmanager
async def datagrams(proxy_port: int, target_port: int, target: str = _LOOPBACK) -> AsyncIterator[Datagrams]:
    """An association with the proxy, which lasts as long as the block."""
    reader, writer = await asyncio.open_connection(_LOOPBACK, proxy_port)
    try:
        address = await _ask(reader, writer, _ASSOCIATE, "0.0.0.0", 0)
        made = Datagrams(target, target_port)
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: made, remote_addr=address)
        try:
            yield made
        finally:
            made.close()
    finally:
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)


async def _ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, command: int, host: str, port: int
) -> tuple[str, int]:
    address = socket.inet_aton(host) + struct.pack("!H", port)
    writer.write(_HELLO + bytes([5, command, 0, 1]) + address)
    try:
        await reader.readexactly(2)
        answer = await reader.readexactly(10)
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        raise RefusedError from error
    if answer[1]:
        raise RefusedError
    (bound,) = struct.unpack("!H", answer[8:])
    return socket.inet_ntoa(answer[4:8]), bound
