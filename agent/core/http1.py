"""HTTP/1.1 as far as a client of one server needs it (RFC 9112): heads of requests made, of answers read.

What always holds: whatever a server sends is understood as the RFC has it, or is a `MalformedError`, which
repeats nothing of it; nothing that is put into a request can add a line to it.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

_STATUS = re.compile(r"HTTP/1\.([01]) ([1-9][0-9]{2})(?: .*)?", re.ASCII)
_FIELD = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*", re.ASCII)
_LENGTH = re.compile("[0-9]{1,18}", re.ASCII)
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r\n")
#: RFC 9110 sections 15.3.5 and 15.4.5: these never have a body.
_BODILESS = frozenset({204, 304})
_FINAL = 200


class MalformedError(Exception):
    """What was sent is not HTTP, or not of a kind that is understood here."""


class Head(NamedTuple):
    """An answer up to its body: the names of headers in lower case, a repeated one joined by commas.

    Of the body `length` bytes follow; None says that it goes on to the end of the connection, unless it comes
    in chunks. `keeps`: the connection is good for another request.
    """

    status: int
    headers: Mapping[str, str]
    length: int | None
    chunked: bool
    keeps: bool

    @property
    def final(self) -> bool:
        """Whether it is the answer; others only announce it."""
        return self.status >= _FINAL


def asked(method: str, target: str, headers: Mapping[str, str]) -> bytes:
    """The head of a request. Raises MalformedError for what no request can carry."""
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    if " " in target or not all(line.isascii() and line.isprintable() for line in lines):
        raise MalformedError("a request cannot carry this address or token")
    return "\r\n".join([*lines, "", ""]).encode()


def answered(raw: bytes) -> Head:
    """The head of an answer, up to and with its empty line. Raises MalformedError."""
    first, *lines = raw.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    status = _STATUS.fullmatch(first)
    if status is None:
        raise MalformedError("the answer is not HTTP/1.1")
    number, headers = int(status[2]), _fields(lines)
    chunked = "transfer-encoding" in headers
    length = 0 if number < _FINAL or number in _BODILESS else _length(headers)
    closes = "close" in _words(headers.get("connection", ""))
    keeps = status[1] == "1" and not closes and (chunked or length is not None)
    return Head(number, headers, length, chunked and length is None, keeps)


def chunk_size(line: bytes) -> int:
    """How many bytes this line of a chunked body announces; 0 ends it. Raises MalformedError."""
    found = _CHUNK.fullmatch(line)
    if found is None:
        raise MalformedError("a chunk of the answer is malformed")
    return int(found[1], 16)


def _fields(lines: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        field = _FIELD.fullmatch(line)
        if field is None:
            raise MalformedError("a header of the answer is malformed")
        name = field[1].lower()
        headers[name] = f"{headers[name]}, {field[2]}" if name in headers else field[2]
    return headers


def _length(headers: Mapping[str, str]) -> int | None:
    coding = headers.get("transfer-encoding")
    lengths = set(_words(headers.get("content-length", "")))
    if coding is not None:
        # RFC 9112 section 6.1: both at once is how one answer is made to look like two.
        if coding.lower() != "chunked" or lengths:
            raise MalformedError("the length of the answer is ambiguous")
        return None
    if not lengths:
        return None
    if len(lengths) > 1 or not _LENGTH.fullmatch(length := lengths.pop()):
        raise MalformedError("the length of the answer is ambiguous")
    return int(length)


def _words(text: str) -> list[str]:
    return [word.strip().lower() for word in text.split(",") if word.strip()]
