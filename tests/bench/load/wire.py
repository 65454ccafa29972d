"""One node's side of its reports: a kept HTTP/1.1 connection on asyncio's streams, as little as does the job.

A load generator shares the machine with what it measures, so a library's client would be most of the figure.
"""

import asyncio
import re
import ssl

_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)
#: An answer with leases for every row is this large.
_BUFFER_BYTES = 1 << 20


class WireError(Exception):
    """The answer was not 200; the text is what was said."""


class Wire:
    """Posts reports under one token; opens its connection when it has none."""

    def __init__(self, address: tuple[str, int], trust: ssl.SSLContext | None, token: str) -> None:
        self._address = address
        self._trust = trust
        self._head = (
            f"POST /api/v1/usage HTTP/1.1\r\nHost: {address[0]}\r\nAuthorization: Bearer {token}\r\n"
            "Content-Type: application/json\r\nContent-Length: "
        ).encode()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, body: bytes) -> bytes:
        """The body of the answer. Raises WireError, OSError or IncompleteReadError; then send it again."""
        reader, writer = await self._open()
        try:
            writer.write(b"%b%d\r\n\r\n%b" % (self._head, len(body), body))
            head = await reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            answer = await reader.readexactly(int(length[1])) if length else b""
        except BaseException:
            # An answer that comes late would be taken for the next one's.
            self.close()
            raise
        if not head.startswith(b"HTTP/1.1 200"):
            raise WireError(answer.decode(errors="replace") or head.decode(errors="replace"))
        return answer

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._streams:
            self._streams[1].close()
            self._streams = None

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None:
            host, port = self._address
            self._streams = await asyncio.open_connection(host, port, ssl=self._trust, limit=_BUFFER_BYTES)
        return self._streams
