"""Asks Xray to close its listeners, over its API, in bytes of our own making.

For the host, which must stay light: gRPC's library takes more memory than the rest of it. A call of gRPC is a
request of HTTP/2 (RFC 9113) whose body is a length and a message; its headers are written here as plain
literals (RFC 7541, 6.2.2), so nothing has to be remembered between them. The kernel is of no help: it refuses
to end a listening MPTCP socket, which is what Go opens, and of a TCP socket ended behind its back Xray tries
to accept for ever, on a whole core.
"""

import contextlib
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS = 0, 1, 3, 4
_END_STREAM, _END_HEADERS = 1, 4
_FRAME_HEAD = 9
#: The method as Xray calls it.
METHOD = "/xray.app.proxyman.command.HandlerService/RemoveInbound"
#: Entries of the static table: 3 `:method: POST`, 6 `:scheme: http`; 1, 4 and 31 name `:authority`, `:path`
#: and `content-type`, the last in two bytes.
_FIRST = b"\x83\x86\x04"
_OTHERS = b"\x01\x04xray\x0f\x10\x10application/grpc\x00\x02te\x08trailers"


def close(api: Path, tags: Sequence[str], patience_s: float, method: str = METHOD) -> bool:
    """Ask for the end of these inbounds; whether all was answered in time. To one that is not there: no.

    `method` is the path of the call as the core calls it, shorter than 128 bytes.
    """
    deadline_s = time.monotonic() + patience_s
    asked = {1 + 2 * number for number in range(len(tags))}
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock, contextlib.suppress(OSError):
        sock.settimeout(patience_s)
        sock.connect(str(api))
        sock.sendall(questions(tags, method))
        inbox = bytearray()
        while asked and (left_s := deadline_s - time.monotonic()) > 0:
            sock.settimeout(left_s)
            if not (data := sock.recv(1 << 16)):
                break
            inbox += data
            asked -= set(answered(inbox))
    return not asked


def questions(tags: Iterable[str], method: str = METHOD) -> bytes:
    """All of one connection: its beginning and a call for each tag, on the streams 1, 3, 5 and so on."""
    path = method.encode()
    fields = _FIRST + bytes([len(path)]) + path + _OTHERS
    calls = [_call(1 + 2 * number, fields, tag.encode()) for number, tag in enumerate(tags)]
    return _PREFACE + _frame(_SETTINGS, 0, 0, b"") + b"".join(calls)


def answered(inbox: bytearray) -> Iterator[int]:
    """The streams that whole frames in here end; these frames are taken out."""
    while len(inbox) >= _FRAME_HEAD:
        length = int.from_bytes(inbox[:3], "big")
        if len(inbox) < _FRAME_HEAD + length:
            return
        kind, flags, stream = inbox[3], inbox[4], int.from_bytes(inbox[5:9], "big")
        del inbox[: _FRAME_HEAD + length]
        if kind == _RESET or (kind in (_DATA, _HEADERS) and flags & _END_STREAM):
            yield stream


def _call(stream: int, fields: bytes, tag: bytes) -> bytes:
    message = b"\x0a" + bytes([len(tag)]) + tag  # field 1, a string: tags are shorter than 128 bytes
    body = b"\x00" + len(message).to_bytes(4, "big") + message
    return _frame(_HEADERS, _END_HEADERS, stream, fields) + _frame(_DATA, _END_STREAM, stream, body)


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload
