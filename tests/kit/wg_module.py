"""The kernel's module as far as its netlink goes, for machines that have none: played by pyroute2's classes.

What always holds: requests are taken apart and answers are made by pyroute2, not by the code that is tested;
a dump comes in several messages, and a peer with many addresses goes on in the next one, as in the kernel.
"""

import contextlib
import errno
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pyroute2.netlink import ctrlmsg
from pyroute2.netlink.generic import wireguard

FAMILY = 37
_DATAGRAM_BYTES = 1 << 20
_CONTROL, _ERROR, _DONE, _MULTI, _TORN = 16, 2, 3, 0x2, 0x10
#: The module keeps a message below a page; so do we, so that peers are told in many.
_PEERS_A_MESSAGE = 7
_ADDRESSES_A_MESSAGE = 2


@dataclass
class Peer:
    """One peer."""

    preshared: bytes = bytes(32)
    allowed: list[tuple[int, bytes, int]] = field(default_factory=list)
    endpoint: tuple[str, int] | None = None
    handshake_s: int = 0
    rx: int = 0
    tx: int = 0


@dataclass
class Module:
    """One interface, which a test looks at and changes; `refuse` fails the next order with this number."""

    name: str = "tg1"
    private_key: bytes = bytes(32)
    port: int = 0
    peers: dict[bytes, Peer] = field(default_factory=dict)
    refuse: int = 0
    torn: int = 0
    orders: list[int] = field(default_factory=list)

    @contextlib.contextmanager
    def running(self) -> Iterator["Module"]:
        """Serve whoever connects until the block ends."""
        self._threads: list[threading.Thread] = []
        try:
            yield self
        finally:
            for thread in self._threads:
                thread.join(5)

    def connect(self) -> socket.socket:
        """A socket as the kernel would give it."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        thread = threading.Thread(target=self._serve, args=(ours,))
        self._threads.append(thread)
        thread.start()
        return theirs

    def _serve(self, talk: socket.socket) -> None:
        with talk:
            while request := talk.recv(_DATAGRAM_BYTES):
                kind, _flags, sequence = struct.unpack_from("=HHI", request, 4)
                for answer in self._answers(kind, sequence, request):
                    talk.send(answer)

    def _answers(self, kind: int, sequence: int, request: bytes) -> Iterator[bytes]:
        if kind == _CONTROL:
            yield _family(sequence)
            yield _end(_ERROR, sequence, 0)
            return
        message = wireguard.wgmsg(request)
        message.decode()
        if message.get_attr("WGDEVICE_A_IFNAME") != self.name:
            yield _end(_ERROR, sequence, -errno.ENODEV)
        elif message["cmd"] == wireguard.WG_CMD_GET_DEVICE:
            yield from self._dump(sequence)
            yield _end(_DONE, sequence, 0)
        else:
            refusal, self.refuse = self.refuse, 0
            if not refusal:
                self._set(message)
            yield _end(_ERROR, sequence, -refusal)

    def _set(self, message: Any) -> None:  # noqa: ANN401 - pyroute2 types nothing
        if (key := message.get_attr("WGDEVICE_A_PRIVATE_KEY")) is not None:
            self.private_key = _raw(key)
        if (port := message.get_attr("WGDEVICE_A_LISTEN_PORT")) is not None:
            self.port = port
        told = message.get_attr("WGDEVICE_A_PEERS") or []
        self.orders.append(len(told))
        assert not message.get_attr("WGDEVICE_A_FLAGS"), "peers are never replaced"
        for one in told:
            self._set_peer(one)

    def _set_peer(self, told: Any) -> None:  # noqa: ANN401 - as above
        key, flags = _raw(told.get_attr("WGPEER_A_PUBLIC_KEY")), told.get_attr("WGPEER_A_FLAGS") or 0
        if flags & wireguard.WGPEER_F_REMOVE_ME:
            self.peers.pop(key, None)
            return
        if key not in self.peers and flags & wireguard.WGPEER_F_UPDATE_ONLY:
            return
        peer = self.peers.setdefault(key, Peer())
        if (preshared := told.get_attr("WGPEER_A_PRESHARED_KEY")) is not None:
            peer.preshared = _raw(preshared)
        if flags & wireguard.WGPEER_F_REPLACE_ALLOWEDIPS:
            peer.allowed = []
        for one in told.get_attr("WGPEER_A_ALLOWEDIPS") or []:
            packed = bytes.fromhex(one.get_attr("WGALLOWEDIP_A_IPADDR").replace(":", ""))
            network = (one.get_attr("WGALLOWEDIP_A_FAMILY"), packed, one.get_attr("WGALLOWEDIP_A_CIDR_MASK"))
            for other in self.peers.values():
                if network in other.allowed:
                    other.allowed.remove(network)
            peer.allowed.append(network)

    def _dump(self, sequence: int) -> Iterator[bytes]:
        flags = _MULTI
        if self.torn:
            self.torn, flags = self.torn - 1, _MULTI | _TORN
        parts = [part for key, peer in self.peers.items() for part in _parts(key, peer)]
        for start in range(0, max(1, len(parts)), _PEERS_A_MESSAGE):
            message = wireguard.wgmsg()
            message["cmd"], message["version"] = wireguard.WG_CMD_GET_DEVICE, 1
            attributes = message["attrs"]
            if start == 0:
                attributes.append(["WGDEVICE_A_IFINDEX", 5])
                attributes.append(["WGDEVICE_A_IFNAME", self.name])
                attributes.append(["WGDEVICE_A_LISTEN_PORT", self.port])
                attributes.append(["WGDEVICE_A_PRIVATE_KEY", wireguard.b64encode(self.private_key)])
            attributes.append(["WGDEVICE_A_PEERS", parts[start : start + _PEERS_A_MESSAGE]])
            yield _encoded(message, FAMILY, flags, sequence)


def _parts(key: bytes, peer: Peer) -> Iterator[dict[str, Any]]:
    """A peer as it is told; what does not fit goes on with its key and the other addresses only."""
    head: list[list[Any]] = [["WGPEER_A_PUBLIC_KEY", wireguard.b64encode(key)]]
    rest: list[list[Any]] = [
        ["WGPEER_A_PRESHARED_KEY", wireguard.b64encode(peer.preshared)],
        ["WGPEER_A_LAST_HANDSHAKE_TIME", {"tv_sec": peer.handshake_s, "tv_nsec": 7}],
        ["WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL", 0],
        ["WGPEER_A_TX_BYTES", peer.tx],
        ["WGPEER_A_RX_BYTES", peer.rx],
        ["WGPEER_A_PROTOCOL_VERSION", 1],
    ]
    if peer.endpoint:
        address, port = peer.endpoint
        six = {"flowinfo": 0, "scope_id": 0} if ":" in address else {}
        rest.append(["WGPEER_A_ENDPOINT", {"addr": address, "port": port, **six}])
    for start in range(0, max(1, len(peer.allowed)), _ADDRESSES_A_MESSAGE):
        allowed = [
            {
                "attrs": [
                    ["WGALLOWEDIP_A_FAMILY", family],
                    ["WGALLOWEDIP_A_IPADDR", packed],
                    ["WGALLOWEDIP_A_CIDR_MASK", length],
                ]
            }
            for family, packed, length in peer.allowed[start : start + _ADDRESSES_A_MESSAGE]
        ]
        yield {"attrs": [*head, *(rest if start == 0 else []), ["WGPEER_A_ALLOWEDIPS", allowed]]}


def _family(sequence: int) -> bytes:
    message = ctrlmsg()
    message["cmd"], message["version"] = 1, 2
    message["attrs"].append(["CTRL_ATTR_FAMILY_NAME", "wireguard"])
    message["attrs"].append(["CTRL_ATTR_FAMILY_ID", FAMILY])
    return _encoded(message, _CONTROL, 0, sequence)


def _encoded(message: Any, kind: int, flags: int, sequence: int) -> bytes:  # noqa: ANN401 - as above
    header = message["header"]
    header["type"], header["flags"], header["sequence_number"], header["pid"] = kind, flags, sequence, 0
    message.encode()
    return bytes(message.data)


def _end(kind: int, sequence: int, number: int) -> bytes:
    return struct.pack("=IHHIIi", 20, kind, 0, sequence, 0, number)


def _raw(text: str | bytes) -> bytes:
    return bytes(wireguard.b64decode(text))
