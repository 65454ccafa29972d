"""A UDP server that answers: an echo, or a stream of datagrams when it is asked for one.

`pour:COUNT:SIZE:RATE` is answered by so many datagrams, so many a second, to whoever asked; anything else
comes back as it was. Counts what it got, so that a test knows what reached the far side.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast


class Echo(asyncio.DatagramProtocol):
    """The server; `taken` counts the datagrams that came, `port` is where."""

    def __init__(self) -> None:
        self.taken = 0
        self.poured = 0
        self.port = 0
        self._transport: asyncio.DatagramTransport | None = None
        self._timers: list[asyncio.TimerHandle] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        self.taken += 1
        if data.startswith(b"pour:"):
            count, size, rate = map(int, data.split(b":")[1:4])
            self._pour(address, count, bytes(size), 1 / rate)
        elif self._transport is not None:
            self._transport.sendto(data, address)

    def error_received(self, _error: Exception) -> None:
        """Whoever asked may have gone."""

    def _pour(self, address: tuple[str, int], count: int, data: bytes, pause_s: float) -> None:
        if self._transport is None or self._transport.is_closing() or not count:
            return
        self._transport.sendto(data, address)
        self.poured += 1
        loop = asyncio.get_running_loop()
        self._timers[:] = [
            *(timer for timer in self._timers if timer.when() > loop.time()),
            loop.call_later(pause_s, self._pour, address, count - 1, data, pause_s),
        ]

    def close(self) -> None:
        """Answer nobody any more."""
        for timer in self._timers:
            timer.cancel()
        if self._transport is not None:
            self._transport.close()


@asynccontextmanager
async def served(host: str = "127.0.0.1") -> AsyncIterator[Echo]:
    """An echo server for the block."""
    made = Echo()
    await asyncio.get_running_loop().create_datagram_endpoint(lambda: made, local_addr=(host, 0))
    try:
        yield made
    finally:
        made.close()
