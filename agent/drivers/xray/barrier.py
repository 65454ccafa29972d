"""Keeps the datagrams of chosen clients from Xray and back, in a table of the kernel's packet filter.

A session on UDP has no socket of its own that could be ended, so its packets are dropped both ways, by the
client's address and port and the endpoint's port, for longer than Xray keeps a session it hears nothing of.
Whoever comes again from another port has to authenticate anew, but for QUIC: its sessions are known by a
connection id and go on from wherever it comes (RFC 9000, 9), as clients that hop between ports do. There the
ids a client used are dropped as well. What always holds: only what was asked for is
dropped; an entry ends by itself; the table is there only while there are endpoints on UDP, and its name is
that of one run directory, so that the next agent finds and removes what a killed one left.

It also keeps which clients had packets lately: nothing else knows when a session on UDP is over.
"""

import socket
import threading
import zlib
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import NamedTuple

from agent.drivers import nft
from agent.drivers.xray import sockets

#: Xray drops a session after 120 s without packets, which it looks for once a minute (app/proxyman/inbound).
BLOCK_S = 240
#: A client without a packet for so long has no session any more.
SEEN_S = 200
#: Most clients the kernel remembers, of each version of IP.
SEEN_CLIENTS = 65_535

#: What tables are for: `udp` is this one, `rate` is that of `limits`.
PURPOSES = ("udp", "rate")

#: In a packet of QUIC with a short header (first bit clear) Xray's four bytes of id follow the first byte.
_SHORT = "@th,64,1 0"
_ID = "@th,72,32"
_TYPES = {"4": "ipv4_addr", "6": "ipv6_addr"}
_FAMILIES = {"4": "ip", "6": "ip6"}
#: Where the client's and the endpoint's addresses are in packets that come, and in those that go.
_HOOKS = {"input": ("s", "d"), "output": ("d", "s")}


class Link(NamedTuple):
    """A client that used a connection id."""

    client: sockets.Peer
    connection: int


class Wanted(NamedTuple):
    """Whom to block on a port: clients, and connection ids of theirs."""

    clients: AbstractSet[sockets.Peer]
    ids: AbstractSet[int] = frozenset()


Clients = Mapping[int, Wanted]


def table_name(run_dir: Path, purpose: str) -> str:
    """The name of a table that belongs to one run directory."""
    return f"tidegate_{purpose}_{zlib.crc32(str(run_dir).encode()):08x}"


class Barrier:
    """The table of one run directory. All of it blocks for some milliseconds; any thread may ask."""

    def __init__(self, run_dir: Path) -> None:
        self._table = table_name(run_dir, "udp")
        self._ports: frozenset[int] = frozenset()
        self._lock = threading.Lock()

    @property
    def stands(self) -> bool:
        """Whether the table is there, as far as this agent knows."""
        return bool(self._ports)

    def watch(self, ports: AbstractSet[int], quic: AbstractSet[int] = frozenset()) -> None:
        """Serve these UDP ports, some of them with QUIC; entries that are there stay. Raises NftError.

        Without ports nothing is left.
        """
        with self._lock:
            if ports:
                nft.run(watching(self._table, ports, quic))
            else:
                nft.remove(self._table)
            self._ports = frozenset(ports)

    def block(self, clients: Clients) -> None:
        """Drop the datagrams of these, by port. Raises NftError."""
        if script := blocking(self._table, clients):
            with self._lock:
                nft.run(script)

    def unblock(self, clients: Clients) -> None:
        """Let these through again, where they are blocked. Raises NftError."""
        if script := unblocking(self._table, clients):
            with self._lock:
                nft.run(script)

    def links(self) -> dict[int, list[Link]]:
        """Which clients used which connection ids lately, by port. Raises NftError."""
        return links(self._table)


def watching(table: str, ports: AbstractSet[int], quic: AbstractSet[int] = frozenset()) -> str:
    """Make the table where it is not, and let it watch exactly these ports."""
    lines = [
        f"table inet {table} {{",
        " set ports { type inet_service; }",
        " set quic { type inet_service; }",
    ]
    lines.append(f" set cutid {{ typeof udp dport . {_ID}; size {SEEN_CLIENTS}; flags timeout; }}")
    lately = f"size {SEEN_CLIENTS}; flags dynamic,timeout; timeout {SEEN_S}s;"
    for version, family in _FAMILIES.items():
        key = f"{_TYPES[version]} . inet_service . inet_service"
        lines.append(f" set cut{version} {{ type {key}; size {SEEN_CLIENTS}; flags timeout; }}")
        lines.append(f" set seen{version} {{ type {key}; {lately} }}")
        named = f"{family} saddr . udp sport . udp dport . {_ID}"
        lines.append(f" set ids{version} {{ typeof {named}; {lately} }}")
    lines += [f" chain {hook} {{ type filter hook {hook} priority -150; policy accept; }}" for hook in _HOOKS]
    lines.append("}")
    for hook in _HOOKS:
        lines.append(f"flush chain inet {table} {hook}")
        lines += [f"add rule inet {table} {hook} {rule}" for rule in _rules(hook)]
    for name, members in (("ports", ports), ("quic", quic)):
        lines.append(f"flush set inet {table} {name}")
        if members:
            lines.append(f"add element inet {table} {name} {{ {', '.join(map(str, sorted(members)))} }}")
    return "\n".join([*lines, ""])


def _rules(hook: str) -> Iterator[str]:
    client, endpoint = _HOOKS[hook]
    if hook == "input":
        yield f"{_SHORT} udp dport . {_ID} @cutid drop"
    for version, family in _FAMILIES.items():
        key = f"{family} {client}addr . udp {client}port . udp {endpoint}port"
        yield f"{key} @cut{version} drop"
        yield f"udp {endpoint}port @ports update @seen{version} {{ {key} }}"
        if hook == "input":
            yield f"udp dport @quic {_SHORT} update @ids{version} {{ {key} . {_ID} }}"


def blocking(table: str, clients: Clients) -> str:
    """Block anew: an entry that is there keeps its time unless it is taken out first."""
    keys = _keys(clients)
    bare = _script(table, "add", keys) + _script(table, "delete", keys)
    return bare + _script(table, "add", keys, f" timeout {BLOCK_S}s")


def unblocking(table: str, clients: Clients) -> str:
    """Take entries out, also those that have ended: taking out what is not there would be an error."""
    keys = _keys(clients)
    return _script(table, "add", keys) + _script(table, "delete", keys)


def seen(run_dir: Path) -> dict[int, set[sockets.Peer]] | None:
    """Clients that had packets lately, by port; None when they are too many to be all. Raises NftError."""
    found: dict[int, set[sockets.Peer]] = {}
    for version in _TYPES:
        count = 0
        for address, client_port, port in nft.elements(table_name(run_dir, "udp"), f"seen{version}"):
            found.setdefault(port, set()).add(sockets.peer(address, client_port))
            count += 1
        if count >= SEEN_CLIENTS:
            return None
    return found


def links(table: str) -> dict[int, list[Link]]:
    """Which clients used which connection ids lately, by port. Raises NftError."""
    found: dict[int, list[Link]] = {}
    for version in _TYPES:
        for address, client_port, port, connection in nft.elements(table, f"ids{version}"):
            found.setdefault(port, []).append(Link(sockets.peer(address, client_port), connection))
    return found


class Kinship:
    """Which clients are one session: those that used one connection id, and on from there."""

    def __init__(self, among: Iterable[Link]) -> None:
        self._ids: dict[sockets.Peer, set[int]] = {}
        self._clients: dict[int, set[sockets.Peer]] = {}
        for client, connection in among:
            self._ids.setdefault(client, set()).add(connection)
            self._clients.setdefault(connection, set()).add(client)

    def of(self, known: AbstractSet[sockets.Peer]) -> Wanted:
        """These clients with every other address, and every connection id, of the sessions they have."""
        clients, ids, fresh = set(known), set[int](), set(known)
        while fresh:
            new = {connection for client in fresh for connection in self._ids.get(client, ())} - ids
            ids |= new
            fresh = {client for connection in new for client in self._clients[connection]} - clients
            clients |= fresh
        return Wanted(frozenset(clients), frozenset(ids))

    def sessions(self) -> Iterator[AbstractSet[sockets.Peer]]:
        """The clients of each session that was seen under several addresses."""
        left = set(self._ids)
        while left:
            found = self.of({left.pop()}).clients
            left -= found
            if len(found) > 1:
                yield found


def key_of(peer: sockets.Peer) -> tuple[str, str, int]:
    """A client as rules name it: version of IP, address, port."""
    packed = sockets.address(peer)
    four = len(packed) == 4  # noqa: PLR2004 - bytes of an IPv4 address
    text = socket.inet_ntop(socket.AF_INET if four else socket.AF_INET6, packed)
    return "4" if four else "6", text, int.from_bytes(peer[-2:], "big")


def _keys(clients: Clients) -> dict[str, list[str]]:
    keys: dict[str, list[str]] = {}
    for port, wanted in clients.items():
        for version, address, client_port in map(key_of, wanted.clients):
            keys.setdefault(f"cut{version}", []).append(f"{address} . {client_port} . {port}")
        for connection in wanted.ids:
            keys.setdefault("cutid", []).append(f"{port} . {connection}")
    return keys


def _script(table: str, verb: str, keys: Mapping[str, list[str]], more: str = "") -> str:
    return "".join(
        f"{verb} element inet {table} {name} {{ {', '.join(key + more for key in of_it)} }}\n"
        for name, of_it in keys.items()
    )
