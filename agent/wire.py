"""Asks one server over HTTP/1.1: connections that are kept, patience that ends, answers of a bounded size.

What always holds: no redirect is followed and no proxy asked; a request goes over one connection alone, which
is closed when its asker is cancelled or has waited too long. A connection that was kept may have been closed
by the server meanwhile: then the request is made once more on a new one.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from agent import release
from agent.core import http1

_NAME = f"tidegate-agent/{release.VERSION}"
_CONNECT_S = 5.0
_KEPT_S = 60.0
_MOST_KEPT = 4
_HEAD_BYTES = 64 << 10
_PIECE_BYTES = 64 << 10
#: The whole state of 200,000 users is half of it.
MAX_BODY_BYTES = 64 << 20


class WireError(Exception):
    """There is no answer; the text says why and holds nothing of the request."""


class SilentError(WireError):
    """Nothing came in time."""


class _StaleError(Exception):
    """The connection was closed before a byte of the answer came."""


class Answer(NamedTuple):
    """What the server said; the names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes | bytearray


class Wire:
    """The connections to one server, at an address that `link.base_url` has seen; plain without `tls`."""

    def __init__(self, url: str, tls: ssl.SSLContext | None) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._port = parts.port or (80 if parts.scheme == "http" else 443)
        self._above = parts.path
        self._name = parts.netloc
        self._tls = tls
        self._kept: list[_Connection] = []

    async def ask(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None, answer_s: float
    ) -> Answer:
        """The answer; each part of it may take `answer_s` seconds to come. Raises WireError."""
        about = {"Host": self._name, "User-Agent": _NAME, "Accept-Encoding": "identity", **headers}
        if body is not None:
            about["Content-Length"] = str(len(body))
        try:
            request = http1.asked(method, self._above + path, about) + (body or b"")
            return await self._asked(request, answer_s)
        except TimeoutError:
            raise SilentError("no answer came in time") from None
        except EOFError:
            raise WireError("the connection was closed in the middle of an answer") from None
        except (OSError, ValueError, asyncio.LimitOverrunError, http1.MalformedError) as error:
            # Names that cannot be looked up, and what TLS cannot take for one, are a ValueError.
            raise WireError(str(error) or type(error).__name__) from error

    async def close(self) -> None:
        """Close the connections that are kept."""
        while self._kept:
            await self._kept.pop().close()

    async def _asked(self, request: bytes, answer_s: float) -> Answer:
        if kept := self._taken():
            with contextlib.suppress(_StaleError):
                return await self._over(kept, request, answer_s)
        try:
            return await self._over(await self._opened(), request, answer_s)
        except _StaleError:
            raise WireError("the connection was closed without an answer") from None

    async def _over(self, connection: "_Connection", request: bytes, answer_s: float) -> Answer:
        keeps = False
        try:
            async with asyncio.timeout(answer_s) as patience:
                connection.have(patience, answer_s)
                head = await connection.ask(request)
                body = await connection.body(head)
            keeps = head.keeps and len(self._kept) < _MOST_KEPT
            return Answer(head.status, head.headers, body)
        finally:
            if keeps:
                connection.kept_s = asyncio.get_running_loop().time()
                self._kept.append(connection)
            else:
                connection.drop()

    def _taken(self) -> "_Connection | None":
        until_s = asyncio.get_running_loop().time() - _KEPT_S
        good = [one for one in self._kept if one.kept_s > until_s and one.usable]
        for one in self._kept:
            if one not in good:
                one.drop()
        self._kept = good
        return good.pop() if good else None

    async def _opened(self) -> "_Connection":
        # Literal addresses are connected to as they are; of a name the second is tried before the first ends.
        async with asyncio.timeout(_CONNECT_S):
            streams = await asyncio.open_connection(
                self._host, self._port, ssl=self._tls, limit=_HEAD_BYTES, happy_eyeballs_delay=0.25
            )
        return _Connection(*streams)


class _Connection:
    """One connection: a request, its answer, then the next."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.kept_s = 0.0
        self._reader = reader
        self._writer = writer
        self._patience: asyncio.Timeout | None = None
        self._piece_s = 0.0

    @property
    def usable(self) -> bool:
        """Whether it is open, as far as that can be seen."""
        return not (self._reader.at_eof() or self._reader.exception() or self._writer.is_closing())

    def have(self, patience: asyncio.Timeout, piece_s: float) -> None:
        """Wait so long for each part of the next answer."""
        self._patience, self._piece_s = patience, piece_s

    async def ask(self, request: bytes) -> http1.Head:
        """Send a request and read the head of its answer."""
        # A server may answer and close before it has read everything: what it said is still to be read.
        with contextlib.suppress(ConnectionError):
            for at in range(0, len(request), _PIECE_BYTES):
                self._writer.write(request[at : at + _PIECE_BYTES])
                await self._writer.drain()
                self._moved()
        try:
            raw = await self._reader.readuntil(b"\r\n\r\n")
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            if getattr(error, "partial", b""):
                raise
            raise _StaleError from error
        head = http1.answered(raw)
        while not head.final:
            head = http1.answered(await self._reader.readuntil(b"\r\n\r\n"))
        return head

    async def body(self, head: http1.Head) -> bytearray:
        """Read what follows the head."""
        body = bytearray()
        if not head.chunked:
            await self._read(body, head.length)
            return body
        while size := http1.chunk_size(await self._reader.readuntil(b"\r\n")):
            await self._read(body, size)
            if await self._reader.readexactly(2) != b"\r\n":
                raise http1.MalformedError("a chunk of the answer is malformed")
        while await self._reader.readuntil(b"\r\n") != b"\r\n":
            pass  # trailers say nothing that is needed here
        return body

    def drop(self) -> None:
        """Close it without a word."""
        self._writer.transport.abort()

    async def close(self) -> None:
        """Close it and wait until it is."""
        self.drop()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def _read(self, body: bytearray, length: int | None) -> None:
        """Read so many bytes more, or all there are."""
        end = None if length is None else len(body) + length
        if end is not None and end > MAX_BODY_BYTES:
            raise http1.MalformedError("the answer is too large")
        while end is None or len(body) < end:
            room = _PIECE_BYTES if end is None else min(_PIECE_BYTES, end - len(body))
            piece = await self._reader.read(room)
            if not piece and end is None:
                return
            if not piece:
                raise EOFError
            body += piece
            if len(body) > MAX_BODY_BYTES:
                raise http1.MalformedError("the answer is too large")
            self._moved()

    def _moved(self) -> None:
        if self._patience is not None:
            self._patience.reschedule(asyncio.get_running_loop().time() + self._piece_s)
