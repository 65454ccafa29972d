"""Asks one server over HTTP/1.1: connections that are kept, patience that ends, answers of a bounded size.

What always holds: no redirect is followed and no proxy asked; a request goes over one connection alone, which
is closed when its asker is cancelled or has waited too long. A connection that was kept may have been closed
by the server meanwhile: then the request is made once more on a new one. What is sent and said is for h11 to
put into bytes and to understand; no error repeats any of it.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

import h11

from agent import release

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
            request = h11.Request(method=method, target=self._above + path, headers=list(about.items()))
            return await self._asked(request, body or b"", answer_s)
        except TimeoutError:
            raise SilentError("no answer came in time") from None
        except (h11.LocalProtocolError, UnicodeEncodeError):
            raise WireError("a request cannot carry this address or token") from None
        except h11.RemoteProtocolError:
            raise WireError("what came is no answer in HTTP/1.1, or only a part of one") from None
        except (OSError, ValueError) as error:
            # Names that cannot be looked up, and what TLS cannot take for one, are a ValueError.
            raise WireError(str(error) or type(error).__name__) from error

    async def close(self) -> None:
        """Close the connections that are kept."""
        while self._kept:
            await self._kept.pop().close()

    async def _asked(self, request: h11.Request, body: bytes, answer_s: float) -> Answer:
        if kept := self._taken():
            with contextlib.suppress(_StaleError):
                return await self._over(kept, request, body, answer_s)
        try:
            return await self._over(await self._opened(), request, body, answer_s)
        except _StaleError:
            raise WireError("the connection was closed without an answer") from None

    async def _over(
        self, connection: "_Connection", request: h11.Request, body: bytes, answer_s: float
    ) -> Answer:
        try:
            async with asyncio.timeout(answer_s) as patience:
                connection.have(patience, answer_s)
                await connection.send(request, body)
                answer = await connection.answer()
        except BaseException:
            connection.drop()
            raise
        if len(self._kept) < _MOST_KEPT and connection.begin_again():
            self._kept.append(connection)
        else:
            connection.drop()
        return answer

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
                self._host, self._port, ssl=self._tls, limit=_PIECE_BYTES, happy_eyeballs_delay=0.25
            )
        return _Connection(*streams)


class _Connection:
    """One connection: a request, its answer, then the next."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.kept_s = 0.0
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD_BYTES)
        self._patience: asyncio.Timeout | None = None
        self._piece_s = 0.0

    @property
    def usable(self) -> bool:
        """Whether it is open, as far as that can be seen."""
        return not (self._reader.at_eof() or self._reader.exception() or self._writer.is_closing())

    def have(self, patience: asyncio.Timeout, piece_s: float) -> None:
        """Wait so long for each part of the next answer."""
        self._patience, self._piece_s = patience, piece_s

    async def send(self, request: h11.Request, body: bytes) -> None:
        """Send a request."""
        pieces = (body[at : at + _PIECE_BYTES] for at in range(0, len(body), _PIECE_BYTES))
        # A server may answer and close before it has read everything: what it said is still to be read.
        with contextlib.suppress(ConnectionError):
            for event in (request, *map(h11.Data, pieces), h11.EndOfMessage()):
                self._writer.write(self._http.send(event) or b"")
                await self._writer.drain()
                self._moved()

    async def answer(self) -> Answer:
        """Read the answer."""
        response, body = None, bytearray()
        while not isinstance(event := self._http.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA:
                await self._receive()
            elif isinstance(event, h11.Response):
                response = event
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > MAX_BODY_BYTES:
                    raise WireError("the answer is too large")
        if response is None:
            raise h11.RemoteProtocolError("an end without a beginning")
        headers: dict[str, str] = {}
        for name, value in ((name.decode(), value.decode("latin-1")) for name, value in response.headers):
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        return Answer(response.status_code, headers, body)

    def begin_again(self) -> bool:
        """Be ready for the next request; False where there can be none."""
        if not self.usable or {self._http.our_state, self._http.their_state} != {h11.DONE}:
            return False
        self._http.start_next_cycle()
        self.kept_s = asyncio.get_running_loop().time()
        return True

    def drop(self) -> None:
        """Close it without a word."""
        self._writer.transport.abort()

    async def close(self) -> None:
        """Close it and wait until it is."""
        self.drop()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def _receive(self) -> None:
        is_first = self._http.their_state is h11.SEND_RESPONSE and not self._http.trailing_data[0]
        try:
            piece = await self._reader.read(_PIECE_BYTES)
        except ConnectionError:
            if not is_first:
                raise
            piece = b""
        if not piece and is_first:
            raise _StaleError
        self._http.receive_data(piece)
        self._moved()

    def _moved(self) -> None:
        if self._patience is not None:
            self._patience.reschedule(asyncio.get_running_loop().time() + self._piece_s)
