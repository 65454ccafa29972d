"""A connection to a gRPC server with the calls under way on it (PROTOCOL-HTTP2.md of gRPC).

What always holds: no call is sent before the server has said how many it takes at once, nor more than that;
whoever waits for an answer hears at once when the connection is lost; one that only takes no new calls is
kept until those under way are over. The window of a call holds any answer that is taken, so that only the one
they share is ever opened again; what is too large is refused here.
"""

import asyncio
import contextlib
import urllib.parse
from dataclasses import dataclass, field
from typing import cast

import hpack

from agent.drivers import base
from agent.drivers.xray import frames

#: Answers about 50,000 users take 5 MB.
MAX_ANSWER_BYTES = 64 << 20
#: The server's window for the whole connection is opened again after so much.
_REOPEN_BYTES = 1 << 24
#: A server may take a call for one too many while the one before is not quite over (RFC 9113, 8.7).
_TRIES = 5
#: Before a message one byte says whether it is compressed, which is not asked for, and four how long it is.
_PREFIX_BYTES = 5
_HELLO = (
    frames.PREFACE
    + frames.settings({frames.ENABLE_PUSH: 0, frames.INITIAL_WINDOW_SIZE: frames.WINDOW_BYTES})
    + frames.saying(frames.WINDOW_UPDATE, 0, frames.WINDOW_BYTES - frames.FIRST_WINDOW_BYTES)
)
#: In the order of their numbers; a server may send others.
_CODES = (
    *("ok", "cancelled", "unknown", "invalid_argument", "deadline_exceeded", "not_found", "already_exists"),
    *("permission_denied", "resource_exhausted", "failed_precondition", "aborted", "out_of_range"),
    *("unimplemented", "internal", "unavailable", "data_loss", "unauthenticated"),
)
_NAMES = {b"%d" % number: code for number, code in enumerate(_CODES)}


class RefusedError(Exception):
    """The server answered with an error: the name of its code, and what it said, perhaps nothing."""

    def __init__(self, code: str, text: str = "") -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text


class NotBegunError(base.CoreDownError):
    """The server has done nothing of a call and never will, but may on a new connection if `elsewhere`."""

    def __init__(self, why: str, *, elsewhere: bool) -> None:
        super().__init__(why)
        self.elsewhere = elsewhere


class _TurnedAwayError(Exception):
    """The server has done nothing of a call, but may if it is made again."""


@dataclass(kw_only=True, slots=True)
class _Call:
    """A call under way: what is still to be sent, and what has come."""

    unsent: memoryview
    window_bytes: int
    answer: asyncio.Future[bytes]
    fields: dict[bytes, bytes] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)


def head(path: str) -> bytes:
    """What every call of the method at this path begins with."""
    target = ((":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "localhost"))
    return frames.block((*target, ("te", "trailers"), ("content-type", "application/grpc")))


class Connection(asyncio.Protocol):
    """One connection, from when it is made until it is lost.

    It is no longer `usable` once it takes no new calls, and `lost` when those under way are over, or ended.
    """

    def __init__(self) -> None:
        self.usable = True
        self.lost = self._left = False
        self._why = "Xray cannot be reached"
        self._reader = frames.Reader()
        self._decoder = hpack.Decoder()
        self._calls: dict[int, _Call] = {}
        self._next = 1
        self._most: int | None = None  # until the server has told its settings
        self._changed = asyncio.Event()
        self._window_bytes = self._first_bytes = frames.FIRST_WINDOW_BYTES
        self._taken_bytes = 0

    async def call(self, head: bytes, request: bytes) -> bytes:
        """The answer to one call. Raises RefusedError, and CoreDownError when the connection is lost.

        That is a NotBegunError when the server has not begun it: it may be made on another connection.
        """
        for _ in range(_TRIES):
            with contextlib.suppress(_TurnedAwayError):
                return await self._call(head, request)
        self._leave()
        raise self._not_begun()

    async def _call(self, head: bytes, request: bytes) -> bytes:
        while self.usable and len(self._calls) >= (self._most or 0):
            self._changed.clear()
            await self._changed.wait()
        if self._next > frames.LAST_STREAM:
            self._leave()
        if not self.usable:
            raise self._not_begun()
        stream, self._next = self._next, self._next + 2
        call = self._calls[stream] = _Call(
            unsent=memoryview(len(request).to_bytes(_PREFIX_BYTES, "big") + request),
            window_bytes=self._first_bytes,
            answer=asyncio.get_running_loop().create_future(),
        )
        opening = frames.frame(frames.HEADERS, frames.END_HEADERS, stream, head)
        self._transport.write(opening + self._sendable(stream, call))
        try:
            return await call.answer
        finally:
            if stream in self._calls:  # nobody waits for it any more
                self._cancel(stream)
                self._end(stream)

    def close(self, why: str) -> None:
        """Drop the connection; calls under way end as CoreDownError for this reason."""
        self._why = why
        self._drop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say hello."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(_HELLO)

    def connection_lost(self, _error: Exception | None) -> None:
        """Tell everybody who waits for an answer."""
        self._drop()

    def data_received(self, data: bytes) -> None:
        """Act on every frame that is whole by now."""
        try:
            for frame in self._reader.feed(data):
                if not self.lost:
                    self._take(frame)
        except (frames.FrameError, hpack.HPACKError):
            self._drop()

    def _leave(self, last: int = frames.LAST_STREAM) -> None:
        """Take no new calls; those above the last stream that the server names were never begun."""
        self.usable, self._left = False, True
        for stream in [each for each in self._calls if each > last]:
            self._end(stream, self._not_begun())
        self._turn()

    def _turn(self) -> None:
        """Let those who wait for their turn look again, and go once nobody needs this connection."""
        self._changed.set()
        if not (self.usable or self.lost or self._calls):
            self._drop()

    def _not_begun(self) -> NotBegunError:
        return NotBegunError(self._why, elsewhere=self._left)

    def _drop(self) -> None:
        self.usable, self.lost = False, True
        self._transport.abort()
        for stream in list(self._calls):
            self._end(stream, base.CoreDownError(self._why))
        self._changed.set()

    def _take(self, frame: frames.Frame) -> None:
        call = self._calls.get(frame.stream)
        match frame.kind:
            case frames.DATA:
                self._take_data(frame.stream, call, frame.payload)
            case frames.HEADERS:
                fields = self._decoder.decode(frame.payload, raw=True)
                if call:
                    call.fields.update(fields)
            case frames.WINDOW_UPDATE:
                self._widen(frame.stream, call, frames.said(frame.payload))
            case frames.SETTINGS if not frame.flags & frames.ACK:
                self._settle(frames.settled(frame.payload))
            case frames.PING if not frame.flags & frames.ACK:
                self._transport.write(frames.frame(frames.PING, frames.ACK, payload=frame.payload))
            case frames.RST_STREAM:
                self._end(frame.stream, _reset(frames.said(frame.payload)))
            case frames.GOAWAY:
                self._leave(frames.last_begun(frame.payload))
        if frame.kind in (frames.DATA, frames.HEADERS) and frame.flags & frames.END_STREAM:
            self._end(frame.stream)

    def _take_data(self, stream: int, call: _Call | None, data: bytes) -> None:
        self._taken_bytes += len(data)
        if self._taken_bytes >= _REOPEN_BYTES:
            self._transport.write(frames.saying(frames.WINDOW_UPDATE, 0, self._taken_bytes))
            self._taken_bytes = 0
        if call:
            call.body += data
            if len(call.body) > MAX_ANSWER_BYTES:
                self._cancel(stream)
                self._end(stream, RefusedError("resource_exhausted", "the answer is too large"))

    def _widen(self, stream: int, call: _Call | None, more_bytes: int) -> None:
        if call:
            call.window_bytes += more_bytes
        elif not stream:
            self._window_bytes += more_bytes
        self._send_on()

    def _settle(self, told: dict[int, int]) -> None:
        so_far = frames.LAST_STREAM if self._most is None else self._most
        self._most = told.get(frames.MAX_CONCURRENT_STREAMS, so_far)
        first_bytes = told.get(frames.INITIAL_WINDOW_SIZE, self._first_bytes)
        for call in self._calls.values():
            call.window_bytes += first_bytes - self._first_bytes
        self._first_bytes = first_bytes
        self._transport.write(frames.frame(frames.SETTINGS, frames.ACK))
        self._changed.set()
        self._send_on()

    def _send_on(self) -> None:
        for stream, call in self._calls.items():
            if call.unsent:
                self._transport.write(self._sendable(stream, call))

    def _sendable(self, stream: int, call: _Call) -> bytes:
        """As much of the request as the server has room for."""
        made = list[bytes]()
        while call.unsent and (room := min(self._window_bytes, call.window_bytes, frames.FRAME_BYTES)) > 0:
            part, call.unsent = call.unsent[:room], call.unsent[room:]
            self._window_bytes -= len(part)
            call.window_bytes -= len(part)
            last = 0 if call.unsent else frames.END_STREAM
            made.append(frames.frame(frames.DATA, last, stream, bytes(part)))
        return b"".join(made)

    def _cancel(self, stream: int) -> None:
        self._transport.write(frames.saying(frames.RST_STREAM, stream, frames.CANCEL))

    def _end(self, stream: int, error: Exception | None = None) -> None:
        """A call is over: for this reason, or because its answer has come, if it was not given up."""
        call = self._calls.pop(stream, None)
        if call and not call.answer.done():
            if call.unsent and not error:  # the server did not need all of the request
                self._cancel(stream)
            if error := error or _refusal(call):
                call.answer.set_exception(error)
            else:
                call.answer.set_result(bytes(memoryview(call.body)[_PREFIX_BYTES:]))
        self._turn()


def _refusal(call: _Call) -> RefusedError | None:
    """What is wrong with an answer that has come."""
    code = _NAMES.get(call.fields.get(b"grpc-status", b""), "unknown")
    if code != "ok":
        return RefusedError(code, urllib.parse.unquote(call.fields.get(b"grpc-message", b"")))
    size = len(call.body) - _PREFIX_BYTES
    if size < 0 or int.from_bytes(call.body[:_PREFIX_BYTES], "big") != size:
        return RefusedError("internal", "the answer is not one message")
    return None


def _reset(reason: int) -> Exception:
    if reason == frames.REFUSED_STREAM:
        return _TurnedAwayError()
    return RefusedError("cancelled" if reason == frames.CANCEL else "internal")
