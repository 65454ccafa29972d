"""The language of the kernel's module, without the socket: generic netlink messages (linux/wireguard.h).

What always holds: a message has at most `PIECE` peers, since the length of a list of them is 16 bits; peers
are never replaced as a whole; a peer whose addresses go on in the next message is put together; whatever is
read, nothing but `NetlinkError` is raised, and its text holds nothing of what was read.

By hand, since reading ten thousand peers several times a second with pyroute2's classes takes 0.8 s each
time, and its own `WireGuard` sends one peer a call; its classes judge this file in the tests.
"""

import base64
import ipaddress
import itertools
import socket
import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from agent.drivers.wireguard import checks
from agent.drivers.wireguard.peers import Change, Seen, State

FAMILY = "wireguard"
#: 500 peers with a key of each kind and two addresses are 64 kB less a third.
PIECE = 350
NLMSG_ERROR, NLMSG_DONE, GENL_CTRL = 2, 3, 16

_REQUEST, _ACK, _DUMP, _DUMP_TORN = 0x1, 0x4, 0x300, 0x10
_NESTED, _TYPE = 0x8000, 0x3FFF
_GET_FAMILY, _FAMILY_ID, _FAMILY_NAME = 3, 1, 2
_GET_DEVICE, _SET_DEVICE, _VERSION = 0, 1, 1
_IFNAME, _PRIVATE_KEY, _LISTEN_PORT, _PEERS = 2, 3, 6, 8
_PEER_KEY, _PEER_PRESHARED, _PEER_FLAGS, _PEER_ENDPOINT = 1, 2, 3, 4
_PEER_HANDSHAKE, _PEER_RX, _PEER_TX, _PEER_ALLOWED = 6, 7, 8, 9
_REMOVE_ME, _REPLACE_ALLOWED, _UPDATE_ONLY = 1, 2, 4
_IP_FAMILY, _IP_ADDRESS, _IP_LENGTH = 1, 2, 3

_HEADER = struct.Struct("=IHHII")
_GENL = struct.Struct("=BBH")
_ATTRIBUTE = struct.Struct("=HH")
_NO_KEY = bytes(checks.KEY_BYTES)


class NetlinkError(Exception):
    """What was read is not of this language."""


class Reply(NamedTuple):
    """One message: its type, the sequence number of what it answers, and what is in it."""

    kind: int
    sequence: int
    payload: bytes
    flags: int = 0

    @property
    def torn(self) -> bool:
        """Whether peers came or went while this dump was under way."""
        return bool(self.flags & _DUMP_TORN)

    @property
    def errno(self) -> int:
        """What an error or the end of a dump says: 0, or a negative number."""
        if len(self.payload) < 4:  # noqa: PLR2004 - an int
            return 0
        return int(struct.unpack_from("=i", self.payload)[0])


def ask_family(sequence: int) -> bytes:
    """Which number has WireGuard's family here?"""
    name = _attribute(_FAMILY_NAME, FAMILY.encode() + b"\0")
    return _message(GENL_CTRL, _REQUEST | _ACK, sequence, _GET_FAMILY, name)


def family(reply: Reply) -> int:
    """The number that was asked for."""
    fields = dict(_attributes(reply.payload[_GENL.size :]))
    return _integer(fields.get(_FAMILY_ID, b""), 2)


def ask_device(number: int, sequence: int, name: str) -> bytes:
    """Everything of an interface."""
    return _message(number, _REQUEST | _ACK | _DUMP, sequence, _GET_DEVICE, _name(name))


def configuration(number: int, sequence: int, name: str, private_key: str, port: int) -> bytes:
    """Give an interface its key and port."""
    parts = [
        _name(name),
        _attribute(_PRIVATE_KEY, _raw(private_key)),
        _attribute(_LISTEN_PORT, struct.pack("=H", port)),
    ]
    return _message(number, _REQUEST | _ACK, sequence, _SET_DEVICE, b"".join(parts))


def changes(number: int, sequence: int, name: str, piece: Sequence[Change]) -> bytes:
    """Change up to `PIECE` peers."""
    listed = b"".join(_attribute(_NESTED | index, _peer(change)) for index, change in enumerate(piece))
    parts = [_name(name), _attribute(_NESTED | _PEERS, listed)]
    return _message(number, _REQUEST | _ACK, sequence, _SET_DEVICE, b"".join(parts))


def pieces(wanted: Sequence[Change]) -> Iterator[list[Change]]:
    """The changes in portions that a message holds."""
    left = iter(wanted)
    while piece := list(itertools.islice(left, PIECE)):
        yield piece


def replies(datagram: bytes) -> Iterator[Reply]:
    """The messages in what the kernel sent at once."""
    offset = 0
    while offset < len(datagram):
        if len(datagram) - offset < _HEADER.size:
            raise NetlinkError("a message has no header")
        length, kind, flags, sequence, _port = _HEADER.unpack_from(datagram, offset)
        if not _HEADER.size <= length <= len(datagram) - offset:
            raise NetlinkError("a message is longer than what was sent")
        yield Reply(kind, sequence, datagram[offset + _HEADER.size : offset + length], flags)
        offset += _aligned(length)


class Dump:
    """One interface, put together from the messages of its dump.

    `known` are peers of an earlier dump by their bytes: what has not changed is not read again.
    """

    def __init__(self, known: Mapping[bytes, Seen] | None = None) -> None:
        self.known: dict[bytes, Seen] = {}
        self._before = known or {}
        self._private_key = ""
        self._port = 0
        self._peers: dict[str, Seen] = {}

    def take(self, reply: Reply) -> None:
        """Take one message."""
        for kind, value in _attributes(reply.payload[_GENL.size :]):
            if kind == _PRIVATE_KEY:
                self._private_key = _key(value)
            elif kind == _LISTEN_PORT:
                self._port = _integer(value, 2)
            elif kind == _PEERS:
                for _index, peer in _attributes(value):
                    self.known[peer] = seen = self._before.get(peer) or _seen(peer)
                    self._take(seen)

    def state(self) -> State:
        """What was taken."""
        return State(private_key=self._private_key, port=self._port, peers=self._peers)

    def _take(self, seen: Seen) -> None:
        before = self._peers.get(seen.key)
        # The rest of a peer that did not fit has its key and addresses only.
        self._peers[seen.key] = before._replace(allowed=before.allowed + seen.allowed) if before else seen


def _message(kind: int, flags: int, sequence: int, command: int, payload: bytes) -> bytes:
    length = _HEADER.size + _GENL.size + len(payload)
    return _HEADER.pack(length, kind, flags, sequence, 0) + _GENL.pack(command, _VERSION, 0) + payload


def _attribute(kind: int, value: bytes) -> bytes:
    length = _ATTRIBUTE.size + len(value)
    try:
        return _ATTRIBUTE.pack(length, kind) + value + bytes(_aligned(length) - length)
    except struct.error:
        raise NetlinkError("a list is too long for one message") from None


def _name(name: str) -> bytes:
    return _attribute(_IFNAME, checks.interface_name(name).encode("ascii") + b"\0")


def _peer(change: Change) -> bytes:
    flags = (_REMOVE_ME if change.remove else 0) | (_UPDATE_ONLY if change.only_known or change.remove else 0)
    flags |= 0 if change.allowed is None else _REPLACE_ALLOWED
    parts = [_attribute(_PEER_KEY, _raw(change.key)), _attribute(_PEER_FLAGS, struct.pack("=I", flags))]
    if change.preshared is not None:
        parts.append(_attribute(_PEER_PRESHARED, _raw(change.preshared) if change.preshared else _NO_KEY))
    if change.allowed:
        listed = b"".join(_attribute(_NESTED | i, _allowed(one)) for i, one in enumerate(change.allowed))
        parts.append(_attribute(_NESTED | _PEER_ALLOWED, listed))
    return b"".join(parts)


def _allowed(network: str) -> bytes:
    host, _, length = network.partition("/")
    kind = socket.AF_INET6 if ":" in host else socket.AF_INET
    parts = [
        _attribute(_IP_FAMILY, struct.pack("=H", kind)),
        _attribute(_IP_ADDRESS, checks.address(host).packed),
        _attribute(_IP_LENGTH, struct.pack("=B", int(length))),
    ]
    return b"".join(parts)


def _raw(key: str) -> bytes:
    return base64.b64decode(checks.key(key))


def _seen(peer: bytes) -> Seen:
    fields = dict(_attributes(peer))
    preshared = fields.get(_PEER_PRESHARED, _NO_KEY)
    handshake = fields.get(_PEER_HANDSHAKE, b"")
    return Seen(
        key=_key(fields.get(_PEER_KEY, b"")),
        preshared=None if preshared == _NO_KEY else _key(preshared),
        allowed=tuple(_network(one) for _index, one in _attributes(fields.get(_PEER_ALLOWED, b""))),
        endpoint=_endpoint(fields.get(_PEER_ENDPOINT, b"")),
        handshake_s=_integer(handshake[:8], 8) if handshake else 0,
        rx=_integer(fields.get(_PEER_RX, bytes(8)), 8),
        tx=_integer(fields.get(_PEER_TX, bytes(8)), 8),
    )


def _network(allowed: bytes) -> str:
    fields = dict(_attributes(allowed))
    return f"{_host(fields.get(_IP_ADDRESS, b''))}/{_integer(fields.get(_IP_LENGTH, b''), 1)}"


def _endpoint(value: bytes) -> str:
    """A sockaddr_in or sockaddr_in6."""
    if not value:
        return ""
    if len(value) < 8:  # noqa: PLR2004 - family, port and an address of version 4
        raise NetlinkError("an endpoint is too short")
    kind, port = struct.unpack_from("=H", value)[0], struct.unpack_from("!H", value, 2)[0]
    if kind == socket.AF_INET6:
        return f"[{_host(value[8:24])}]:{port}"
    return f"{_host(value[4:8])}:{port}"


def _host(packed: bytes) -> str:
    try:
        return str(ipaddress.ip_address(packed))
    except ValueError:
        raise NetlinkError("an address has a strange length") from None


def _key(value: bytes) -> str:
    if len(value) != checks.KEY_BYTES:
        raise NetlinkError("a key has a strange length")
    return base64.b64encode(value).decode("ascii")


def _integer(value: bytes, length: int) -> int:
    if len(value) != length:
        raise NetlinkError("a number has a strange length")
    return int.from_bytes(value, sys.byteorder)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset < len(data):
        if len(data) - offset < _ATTRIBUTE.size:
            raise NetlinkError("an attribute has no head")
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if not _ATTRIBUTE.size <= length <= len(data) - offset:
            raise NetlinkError("an attribute is longer than its message")
        yield kind & _TYPE, data[offset + _ATTRIBUTE.size : offset + length]
        offset += _aligned(length)


def _aligned(length: int) -> int:
    return (length + 3) & ~3
