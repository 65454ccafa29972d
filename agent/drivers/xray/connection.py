"""A connection to a gRPC server with the calls under way on it (gRPC over HTTP/2, PROTOCOL-HTTP2.md of gRPC).

What always holds: no call is sent before the server has said how many it takes at once, nor more than that;
whoever waits for an answer hears at once when the connection is lost. The server may send an answer without
ever being told to go on: its windows are as wide as they can be, and what is too large is refused here.
"""

import asyncio
import enum
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
_PREFIX_BYTES = 5
_HELLO = (
    frames.PREFACE
    + frames.settings({frames.ENABLE_PUSH: 0, frames.INITIAL_WINDOW_SIZE: frames.WINDOW_BYTES})
    + frames.number(frames.WINDOW_UPDATE, 0, frames.WINDOW_BYTES - frames.FIRST_WINDOW_BYTES)
)


class Code(enum.IntEnum):
    """What became of a call, as far as it makes a difference here; others are taken for UNKNOWN."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16

    @classmethod
    def _missing_(cls, _value: object) -> "Code":
        return cls.UNKNOWN


class RefusedError(Exception):
    """The server answered with an error; `text` is what it said, perhaps nothing."""

    def __init__(self, code: Code, text: str) -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text


@dataclass(kw_only=True)
class _Call:
    """A call under way: what is still to be sent, and what has come."""

    unsent: memoryview
    window_bytes: int
    answer: asyncio.Future[bytes]
    fields: dict[bytes, bytes] = field(default_factory=dict)
    parts: list[bytes] = field(default_factory=list)
    size: int = 0


def head(path: str) -> bytes:
    """What every call of the method at this path begins with."""
    return frames.block(
        (
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "localhost"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
        )
    )


class Connection(asyncio.Protocol):
    """One connection, from when it is made until it is lost; `usable` is whether it takes new calls."""

    def __init__(self) -> None:
        self.usable = True
        self.lost = asyncio.Event()
        self._why = "Xray cannot be reached"
        self._reader = frames.Reader()
        self._decoder = hpack.Decoder()
        self._calls: dict[int, _Call] = {}
        self._next = 1
        self._most = 0  # until the server has told its settings
        self._changed = asyncio.Event()
        self._window_bytes = self._first_bytes = frames.FIRST_WINDOW_BYTES
        self._paid_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say hello."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(_HELLO)

    async def call(self, head: bytes, request: bytes) -> bytes:
        """The answer to one call. Raises RefusedError, and CoreDownError when the connection is lost."""
        while self.usable and len(self._calls) >= self._most:
            self._changed.clear()
            await self._changed.wait()
        if self._next > frames.LAST_STREAM:
            self._drop()
        if not self.usable:
            raise base.CoreDownError(self._why)
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
            if self._calls.pop(stream, None):  # nobody waits for it any more
                self._cancel(stream)
                self._changed.set()

    async def close(self, why: str) -> None:
        """Drop the connection; calls under way end as CoreDownError for this reason."""
        self._why = why
        self._drop()
        await self.lost.wait()

    def connection_lost(self, _error: Exception | None) -> None:
        """Tell everybody who waits for an answer."""
        self._drop()
        self.lost.set()

    def data_received(self, data: bytes) -> None:
        """Act on every frame that is whole by now."""
        try:
            for frame in self._reader.feed(data):
                self._take(frame)
        except (frames.FrameError, hpack.HPACKError):
            self._drop()

    def _drop(self) -> None:
        self.usable = False
        self._transport.abort()
        for stream in list(self._calls):
            self._fail(stream, base.CoreDownError(self._why))
        self._changed.set()

    def _take(self, frame: frames.Frame) -> None:
        match frame.kind:
            case frames.DATA:
                self._take_data(frame)
            case frames.HEADERS:
                fields = self._decoder.decode(frame.payload, raw=True)
                if call := self._calls.get(frame.stream):
                    call.fields.update(fields)
            case frames.WINDOW_UPDATE:
                self._widen(frame)
            case frames.SETTINGS if not frame.flags & frames.ACK:
                self._settle(frame)
            case frames.PING if not frame.flags & frames.ACK:
                self._transport.write(frames.frame(frames.PING, frames.ACK, payload=frame.payload))
            case frames.RST_STREAM:
                self._fail(frame.stream, _reset(frame.number()))
            case frames.GOAWAY:
                self._drop()
        if frame.kind in (frames.DATA, frames.HEADERS) and frame.flags & frames.END_STREAM:
            self._finish(frame.stream)

    def _take_data(self, frame: frames.Frame) -> None:
        self._paid_bytes += frame.paid
        if self._paid_bytes >= _REOPEN_BYTES:
            self._transport.write(frames.number(frames.WINDOW_UPDATE, 0, self._paid_bytes))
            self._paid_bytes = 0
        if call := self._calls.get(frame.stream):
            call.parts.append(frame.payload)
            call.size += len(frame.payload)
            if call.size > MAX_ANSWER_BYTES:
                self._cancel(frame.stream)
                self._fail(frame.stream, RefusedError(Code.RESOURCE_EXHAUSTED, "the answer is too large"))

    def _widen(self, frame: frames.Frame) -> None:
        if not frame.stream:
            self._window_bytes += frame.number()
        elif call := self._calls.get(frame.stream):
            call.window_bytes += frame.number()
        self._send_on()

    def _settle(self, frame: frames.Frame) -> None:
        told = dict(frames.told(frame.payload))
        self._most = told.get(frames.MAX_CONCURRENT_STREAMS, self._most or frames.LAST_STREAM)
        first = told.get(frames.INITIAL_WINDOW_SIZE, self._first_bytes)
        for call in self._calls.values():
            call.window_bytes += first - self._first_bytes
        self._first_bytes = first
        self._transport.write(frames.frame(frames.SETTINGS, frames.ACK))
        self._changed.set()
        self._send_on()

    def _send_on(self) -> None:
        for stream, call in self._calls.items():
            if call.unsent:
                self._transport.write(self._sendable(stream, call))

    def _sendable(self, stream: int, call: _Call) -> bytes:
        """As much of the request as the server has room for."""
        made = b""
        while call.unsent and (room := min(self._window_bytes, call.window_bytes, frames.FRAME_BYTES)) > 0:
            part, call.unsent = call.unsent[:room], call.unsent[room:]
            self._window_bytes -= len(part)
            call.window_bytes -= len(part)
            made += frames.frame(frames.DATA, 0 if call.unsent else frames.END_STREAM, stream, bytes(part))
        return made

    def _finish(self, stream: int) -> None:
        if call := self._calls.get(stream):
            if call.unsent:  # the answer did not depend on all of the request
                self._cancel(stream)
            try:
                answer = _answer(call)
            except RefusedError as refusal:
                self._fail(stream, refusal)
                return
            del self._calls[stream]
            if not call.answer.done():
                call.answer.set_result(answer)
            self._changed.set()

    def _fail(self, stream: int, error: Exception) -> None:
        if call := self._calls.pop(stream, None):
            if not call.answer.done():
                call.answer.set_exception(error)
            self._changed.set()

    def _cancel(self, stream: int) -> None:
        self._transport.write(frames.number(frames.RST_STREAM, stream, frames.CANCEL))


def _answer(call: _Call) -> bytes:
    status = call.fields.get(b"grpc-status", b"")
    code = Code(int(status)) if status.isdigit() else Code.UNKNOWN
    if code is not Code.OK:
        raise RefusedError(code, urllib.parse.unquote(call.fields.get(b"grpc-message", b"")))
    found = b"".join(call.parts)
    call.parts.clear()
    # One byte says whether it is compressed, which was not asked for, and four how long it is.
    if len(found) < _PREFIX_BYTES or int.from_bytes(found[:_PREFIX_BYTES], "big") != len(found) - _PREFIX_BYTES:
        raise RefusedError(Code.INTERNAL, "the answer is not one message")
    return found[_PREFIX_BYTES:]


def _reset(code: int) -> Exception:
    if code in (frames.REFUSED_STREAM, frames.CANCEL):
        return base.CoreDownError("Xray cannot be reached")
    return RefusedError(Code.INTERNAL, "")
