"""Frames of HTTP/2 (RFC 9113) as bytes, as far as calls of gRPC need them: pure.

What always holds: what is handed out is whole, a header block with all that continues it. Whatever cannot be
read is a FrameError, after which the connection is of no use; so is padding, which no server of gRPC sends,
and a pushed answer, which none may send to who has forbidden it.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import hpack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, RST_STREAM, SETTINGS, PUSH_PROMISE = 0x0, 0x1, 0x3, 0x4, 0x5
PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0x6, 0x7, 0x8, 0x9
END_STREAM = ACK = 0x1
END_HEADERS = 0x4
ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE = 0x2, 0x3, 0x4
REFUSED_STREAM, CANCEL = 0x7, 0x8

#: Neither side sends larger ones unless it is asked to, nor is it asked here (RFC 9113, 4.2).
FRAME_BYTES = 1 << 14
FIRST_WINDOW_BYTES = (1 << 16) - 1
WINDOW_BYTES = LAST_STREAM = (1 << 31) - 1

_HEAD = struct.Struct(">HBBBI")
_SETTING = struct.Struct(">HI")
_NUMBER = struct.Struct(">I")
_PADDED, _WEIGHED = 0x8, 0x20


class FrameError(Exception):
    """The other side does not keep to the protocol, or uses more of it than is known here."""


class Frame(NamedTuple):
    """One frame."""

    kind: int
    flags: int
    stream: int
    payload: bytes


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    """One frame. The payload must not be larger than FRAME_BYTES."""
    size = len(payload)
    return _HEAD.pack(size >> 8, size & 0xFF, kind, flags, stream) + payload


def saying(kind: int, stream: int, number: int) -> bytes:
    """A frame that says one number."""
    return frame(kind, 0, stream, _NUMBER.pack(number))


def said(payload: bytes) -> int:
    """The number that a frame says. Raises FrameError."""
    if len(payload) != _NUMBER.size:
        raise FrameError("a frame does not say a number")
    return int.from_bytes(payload, "big")


def last_begun(payload: bytes) -> int:
    """The last stream that a server which goes away has begun, or may have. Raises FrameError."""
    return said(payload[: _NUMBER.size]) & LAST_STREAM


def settings(values: Mapping[int, int]) -> bytes:
    """A frame with these settings."""
    return frame(SETTINGS, payload=b"".join(_SETTING.pack(*each) for each in values.items()))


def settled(payload: bytes) -> dict[int, int]:
    """The settings in a frame. Raises FrameError."""
    if len(payload) % _SETTING.size:
        raise FrameError("settings are cut short")
    return dict(_SETTING.iter_unpack(payload))


def block(fields: Iterable[tuple[str, str]]) -> bytes:
    """A header block that may be sent any number of times, in any order: it leaves no trace in a table."""
    made: bytes = hpack.Encoder().encode([(name, value, True) for name, value in fields], huffman=False)
    return made


class Reader:
    """Takes frames out of what has come."""

    def __init__(self) -> None:
        self._rest = b""
        self._begun: Frame | None = None

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are whole by now; to be read to the end. Raises FrameError."""
        data, at = self._rest + data, 0
        while len(data) - at >= _HEAD.size:
            high, low, kind, flags, stream = _HEAD.unpack_from(data, at)
            end = at + _HEAD.size + (high << 8 | low)
            if end - at > _HEAD.size + FRAME_BYTES:
                raise FrameError("a frame is too large")
            if end > len(data):
                break
            found = self._whole(Frame(kind, flags, stream & LAST_STREAM, data[at + _HEAD.size : end]))
            at = end
            if found:
                yield found
        self._rest = data[at:]

    def _whole(self, found: Frame) -> Frame | None:
        if found.kind in (DATA, HEADERS) and found.flags & (_PADDED | _WEIGHED):
            raise FrameError("padding and weights are not known here")
        if found.kind == PUSH_PROMISE:
            raise FrameError("nothing may be pushed")
        if begun := self._begun:
            if (found.kind, found.stream) != (CONTINUATION, begun.stream):
                raise FrameError("a header block is not continued")
            found = Frame(HEADERS, begun.flags | found.flags, begun.stream, begun.payload + found.payload)
        elif found.kind == CONTINUATION:
            raise FrameError("there is nothing to continue")
        more = found.kind == HEADERS and not found.flags & END_HEADERS
        self._begun = found if more else None
        return None if more else found
