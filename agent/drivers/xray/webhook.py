"""What Xray posts for every connection: the HTTP frame and the event inside, both pure.

Xray sends one `POST` with a JSON body of a few hundred bytes per routed connection (app/router/webhook.go)
and reads nothing of the answer but its status. What always holds: requests are given out whole whatever the
pieces they arrive in, and what is not such a request is an error for its connection only (RFC 9112).
"""

import json
from typing import NamedTuple

from agent.drivers.xray import sockets

ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"
REFUSAL = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

MAX_HEAD_BYTES = 8 * 1024
MAX_BODY_BYTES = 64 * 1024


class MalformedError(Exception):
    """The bytes are not a request that Xray would send."""


class Event(NamedTuple):
    """Who came through which connection; `datagrams`: what he wants carried is UDP, whatever carries it."""

    email: str
    peer: sockets.Peer
    datagrams: bool = False


def split(buffer: bytearray) -> list[bytes]:
    """Take the bodies of all complete requests out of the buffer; the incomplete rest stays in it."""
    bodies: list[bytes] = []
    while (end := buffer.find(b"\r\n\r\n", 0, MAX_HEAD_BYTES)) >= 0:
        start = end + 4
        length = _length(bytes(buffer[:end]))
        if len(buffer) < start + length:
            return bodies
        bodies.append(bytes(buffer[start : start + length]))
        del buffer[: start + length]
    if len(buffer) >= MAX_HEAD_BYTES:
        raise MalformedError("the head of the request is too long")
    return bodies


def event(body: bytes) -> Event | None:
    """What one event says; None when it names no account or no address."""
    try:
        fields = json.loads(body)
        email, source = fields["email"], fields["source"]
        host, _, port = source.rpartition(":")
        wanted = fields.get("network") == "udp"
        return Event(str(email), sockets.peer(host.strip("[]"), int(port)), wanted)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _length(head: bytes) -> int:
    first, *lines = head.split(b"\r\n")
    if not first.startswith(b"POST ") or not first.endswith((b" HTTP/1.1", b" HTTP/1.0")):
        raise MalformedError("not a POST request")
    fields = [line.partition(b":") for line in lines]
    lengths = {value.strip() for name, _, value in fields if name.lower() == b"content-length"}
    if len(lengths) != 1:
        raise MalformedError("exactly one length of the body is needed")
    if any(name.lower() == b"transfer-encoding" for name, _, _ in fields):
        raise MalformedError("a body in pieces is not expected")
    (length,) = lengths
    if not length.isdigit() or len(length) > 9 or int(length) > MAX_BODY_BYTES:  # noqa: PLR2004 - digits
        raise MalformedError("the length of the body is wrong")
    return int(length)
