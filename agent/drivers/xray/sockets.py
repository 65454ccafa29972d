"""TCP connections of this machine through the kernel's sock_diag: list those of a port, end chosen ones.

Standard library only, since the host process uses it too. What always holds: a connection is ended by its
full identity, cookie included, so a port number that was reused meanwhile is never hit. Sources:
linux/inet_diag.h, linux/sock_diag.h, RFC 3549 for the message frame.
"""

import errno
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple, NewType

#: Address of a client in packed form followed by its port, big-endian: 6 bytes for IPv4, 18 for IPv6. An
#: IPv4 client of a dual-stack listener has the short form, so that one client has one spelling.
Peer = NewType("Peer", bytes)

_SOCK_DIAG = 4  # NETLINK_SOCK_DIAG
_BY_FAMILY = 20  # SOCK_DIAG_BY_FAMILY
_DESTROY = 21  # SOCK_DESTROY
_ERROR, _DONE = 2, 3
_REQUEST, _ACK, _DUMP = 1, 4, 0x300
_HEADER = struct.Struct("=IHHII")
_QUERY = struct.Struct("=BBBBI")
_PORT = struct.Struct("!H")
_ERRNO = struct.Struct("=i")
_NO_COOKIE = b"\xff" * 8
_BATCH = 64
_RECEIVE_BYTES = 1 << 18
_TIMEOUT_S = 5.0
_MAPPED = bytes(10) + b"\xff\xff"
_LISTEN = 1 << 10
# Every state in which bytes may still move: neither closed, time-wait, listening nor half-open.
_LIVE = (1 << 1) | (1 << 4) | (1 << 5) | (1 << 8) | (1 << 9) | (1 << 11)


class Socket(NamedTuple):
    """One connection as the kernel names it."""

    family: int
    state: int
    identity: bytes
    peer: Peer


class Ended(NamedTuple):
    """Connections that were ended, and those that could not be although they were still there."""

    ended: int
    failed: int


def peer(address: str, port: int) -> Peer:
    """The peer of an address in text form; raises ValueError when it is not an address."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        return Peer(_short(socket.inet_pton(family, address)) + _PORT.pack(port))
    except (OSError, struct.error) as wrong:
        raise ValueError("not an address and port") from wrong


def address(of: Peer) -> bytes:
    """The packed address of a peer, without its port."""
    return of[:-2]


def dump_request(family: int, port: int, states: int = _LIVE) -> bytes:
    """Ask for the sockets of one family on one local port."""
    identity = _PORT.pack(port) + bytes(46)
    body = _QUERY.pack(family, socket.IPPROTO_TCP, 0, 0, states) + identity
    return _HEADER.pack(_HEADER.size + len(body), _BY_FAMILY, _REQUEST | _DUMP, 1, 0) + body


def destroy_request(target: Socket, sequence: int) -> bytes:
    """Ask for the end of exactly this connection."""
    body = _QUERY.pack(target.family, socket.IPPROTO_TCP, 0, 0, 1 << target.state) + target.identity
    return _HEADER.pack(_HEADER.size + len(body), _DESTROY, _REQUEST | _ACK, sequence, 0) + body


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and body of each netlink message in a datagram; what is cut short is not given out."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind = _HEADER.unpack_from(data, offset)[:2]
        if length < _HEADER.size or offset + length > len(data):
            return
        yield kind, data[offset + _HEADER.size : offset + length]
        offset += (length + 3) & ~3


def parse(body: bytes) -> Socket | None:
    """One socket of a dump; None when the message is too short to be one."""
    identity = body[4:52]
    if len(identity) < 48:  # noqa: PLR2004 - the length of struct inet_diag_sockid
        return None
    raw = identity[20:36] if body[0] == socket.AF_INET6 else identity[20:24]
    return Socket(body[0], body[1], identity, Peer(_short(raw) + identity[2:4]))


def connections(port: int) -> list[Socket]:
    """All live connections to a local port, both families. Raises OSError when the kernel refuses."""
    with _netlink() as netlink:
        return [
            found
            for family in (socket.AF_INET, socket.AF_INET6)
            for found in _dump(netlink, dump_request(family, port))
        ]


def listening(port: int) -> bool:
    """Whether somebody listens on a local TCP port, on whatever address."""
    return bool(listeners(port))


def listeners(port: int) -> list[Socket]:
    """All who listen on a local TCP port, on whatever address. Raises OSError when the kernel refuses."""
    with _netlink() as netlink:
        return [
            found
            for family in (socket.AF_INET, socket.AF_INET6)
            for found in _dump(netlink, dump_request(family, port, _LISTEN))
        ]


def end(targets: Sequence[Socket]) -> Ended:
    """End these connections; one that has ended by itself counts as neither ended nor failed."""
    ended = failed = 0
    with _netlink() as netlink:
        for start in range(0, len(targets), _BATCH):
            for code in _destroy(netlink, targets[start : start + _BATCH]):
                ended += code == 0
                failed += code not in (0, errno.ENOENT)
    return Ended(ended, failed)


def refusal() -> str | None:
    """Why this process cannot end connections, found by trying it on a socket of its own; None if it can."""
    try:
        with socket.create_server(("127.0.0.1", 0)) as own, _netlink() as netlink:
            packed = socket.inet_aton("127.0.0.1")
            identity = _PORT.pack(own.getsockname()[1]) + bytes(2) + packed + bytes(32) + _NO_COOKIE
            (code,) = _destroy(netlink, [Socket(socket.AF_INET, 10, identity, Peer(b""))])
    except OSError as error:
        return f"the kernel's socket diagnostics cannot be used ({error.strerror})"
    if code in (errno.EPERM, errno.EACCES):
        return "the capability CAP_NET_ADMIN is missing"
    if code:
        return f"the kernel cannot end connections of others ({errno.errorcode.get(code, code)})"
    return None


def _dump(netlink: socket.socket, request: bytes) -> Iterator[Socket]:
    netlink.send(request)
    while True:
        for kind, body in messages(netlink.recv(_RECEIVE_BYTES)):
            if kind == _DONE:
                return
            if kind == _ERROR:
                code = -_ERRNO.unpack_from(body)[0]
                raise OSError(code, "the kernel refused to list connections")
            if kind == _BY_FAMILY and (found := parse(body)):
                yield found


def _destroy(netlink: socket.socket, targets: Sequence[Socket]) -> list[int]:
    """Send all requests in one datagram; each is answered by one of its own, 0 or an error number."""
    netlink.send(b"".join(destroy_request(target, at) for at, target in enumerate(targets, start=1)))
    codes: list[int] = []
    while len(codes) < len(targets):
        answers = messages(netlink.recv(_RECEIVE_BYTES))
        codes += [-_ERRNO.unpack_from(body)[0] for kind, body in answers if kind == _ERROR]
    return codes


def _netlink() -> socket.socket:
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG)
    netlink.settimeout(_TIMEOUT_S)
    return netlink


def _short(raw: bytes) -> bytes:
    return raw[12:] if len(raw) == 16 and raw.startswith(_MAPPED) else raw  # noqa: PLR2004 - of IPv6
