"""Frames of HTTP/2 (RFC 9113) as bytes, as far as unary calls need them: pure.

What always holds: what is handed out is whole: a header block with all that continues it, data without its
padding. Whatever cannot be that is a FrameError, after which the connection is of no use.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import hpack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 0x1
END_HEADERS = 0x4
ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = 0x2, 0x3, 0x4, 0x5
REFUSED_STREAM, CANCEL = 0x7, 0x8

#: Neither side sends larger ones unless it is asked to, nor is it asked here (RFC 9113, 4.2).
FRAME_BYTES = 1 << 14
FIRST_WINDOW_BYTES = (1 << 16) - 1
WINDOW_BYTES = LAST_STREAM = (1 << 31) - 1

_HEAD = struct.Struct(">HBBBI")
_SETTING = struct.Struct(">HI")
_NUMBER = struct.Struct(">I")
_PADDED, _WEIGHED = 0x8, 0x20
_WEIGHT_BYTES = 5


class FrameError(Exception):
    """The other side does not keep to the protocol."""


class Frame(NamedTuple):
    """One frame; `paid` is what it takes from the windows if it is data."""

    kind: int
    flags: int
    stream: int
    payload: bytes
    paid: int

    def number(self, at: int = 0) -> int:
        """The 31 bits that begin at this byte. Raises FrameError when there are none."""
        if len(self.payload) < at + _NUMBER.size:
            raise FrameError("a frame is too short")
        found: int = _NUMBER.unpack_from(self.payload, at)[0]
        return found & LAST_STREAM


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    """One frame. The payload must not be larger than FRAME_BYTES."""
    size = len(payload)
    return _HEAD.pack(size >> 8, size & 0xFF, kind, flags, stream) + payload


def number(kind: int, stream: int, value: int) -> bytes:
    """A frame that says one number."""
    return frame(kind, 0, stream, _NUMBER.pack(value))


def settings(values: Mapping[int, int]) -> bytes:
    """A frame with these settings."""
    return frame(SETTINGS, payload=b"".join(_SETTING.pack(*each) for each in values.items()))


def told(payload: bytes) -> Iterable[tuple[int, int]]:
    """The settings in a frame, in the order in which they hold. Raises FrameError."""
    if len(payload) % _SETTING.size:
        raise FrameError("settings are cut short")
    return list(_SETTING.iter_unpack(payload))


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
            size = high << 8 | low
            if size > FRAME_BYTES:
                raise FrameError("a frame is too large")
            if len(data) - at < _HEAD.size + size:
                break
            at += _HEAD.size
            found = self._whole(Frame(kind, flags, stream & LAST_STREAM, data[at : at + size], size))
            at += size
            if found:
                yield found
        self._rest = data[at:]

    def _whole(self, found: Frame) -> Frame | None:
        if found.kind in (DATA, HEADERS) and found.flags & (_PADDED | _WEIGHED):
            found = _bare(found)
        if self._begun:
            if found.kind != CONTINUATION or found.stream != self._begun.stream:
                raise FrameError("a header block is not continued")
            found = self._begun._replace(
                flags=self._begun.flags | found.flags, payload=self._begun.payload + found.payload
            )
        more = found.kind == HEADERS and not found.flags & END_HEADERS
        self._begun = found if more else None
        return None if more else found


def _bare(found: Frame) -> Frame:
    """The frame without padding, and without the weight that nobody asked for."""
    start = end = 0
    if found.flags & _PADDED:
        start, end = 1, found.payload[0] if found.payload else 1
    if found.kind == HEADERS and found.flags & _WEIGHED:
        start += _WEIGHT_BYTES
    if start + end > len(found.payload):
        raise FrameError("a frame is more padding than frame")
    return found._replace(payload=found.payload[start : len(found.payload) - end])
