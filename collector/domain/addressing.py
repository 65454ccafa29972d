"""Tunnel addresses of an endpoint's users: which there are, who may have which, which is next (rows R5, R7).

What always holds: the interface's own addresses are nobody's, nor are a network's first (RFC 4291 section
2.6.1: the routers') and, of version 4, its last one, the broadcast address. Nothing here takes longer in a
larger network.
"""

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: So many addresses of a network are handed out; others of a larger one can be asked for by name.
_MOST = 2**32
#: What a column can hold of an address: all of version 4, the lower part of version 6.
_LOW_BITS = 2**63 - 1
#: Networks of at most so many addresses have none that are set apart (RFC 3021, RFC 6164).
_TINY = 2


class Version(IntEnum):
    """Versions of the Internet Protocol."""

    V4 = 4
    V6 = 6


@dataclass(frozen=True)
class Pool:
    """One network of an interface, with the interface's `own` addresses.

    Addresses are counted by `number`, which is their order within the network.
    """

    network: Network
    own: frozenset[Address]

    @property
    def version(self) -> Version:
        """Of which version its addresses are."""
        return Version(self.network.version)

    @property
    def first(self) -> int:
        """The number of the first address that is handed out."""
        return number(self.network.network_address) + self._is_wide

    @property
    def last(self) -> int:
        """The number of the last one; below `first` where there is none."""
        size = min(self.network.num_addresses, _MOST)
        broadcast = self._is_wide and self.version is Version.V4
        return number(self.network.network_address) + size - 1 - broadcast

    def address(self, wanted: int) -> Address:
        """The address of a number from `first` to `last`."""
        return self.network.network_address + (wanted - number(self.network.network_address))

    def holds(self, address: Address) -> bool:
        """Whether the address is of this network."""
        return address in self.network

    def is_apart(self, address: Address) -> bool:
        """Whether an address of this network is nobody's."""
        ends = {self.network.network_address}
        if self.version is Version.V4:
            ends.add(self.network.broadcast_address)
        return address in self.own or (self._is_wide and address in ends)

    @property
    def _is_wide(self) -> bool:
        return self.network.num_addresses > _TINY


def pools(addresses: Iterable[str]) -> list[Pool]:
    """The networks that an interface with these addresses has, each once and in their order."""
    interfaces = [ipaddress.ip_interface(one) for one in addresses]
    own = frozenset[Address](one.ip for one in interfaces)
    return [Pool(network, own) for network in dict.fromkeys(one.network for one in interfaces)]


def number(address: Address) -> int:
    """What a database counts an address by; within the part of a network that is handed out it is unique."""
    return int(address) & _LOW_BITS


def gap(at: int, taken: Sequence[int], pool: Pool) -> int:
    """The first number from `at` on that is neither taken nor the interface's own.

    `taken` begins at or after `at` and rises; what comes after its end is not looked at.
    """
    own = {number(one) for one in pool.own if pool.holds(one)}
    for one in sorted(own.union(taken)):
        if one > at:
            return at
        at += one == at
    return at


def wrong(text: str, version: Version, among: Iterable[Pool]) -> str | None:
    """What is wrong with an address that somebody asks for, or None."""
    found = _parsed(text, version)
    mine = [pool for pool in among if pool.version is version]
    if isinstance(found, str):
        return found
    if not mine:
        return f"the endpoint's interface has no address of version {version}, so its users have none"
    holding = [pool for pool in mine if pool.holds(found)]
    if not holding:
        return f"use an address of {' or '.join(str(pool.network) for pool in mine)}"
    if any(pool.is_apart(found) for pool in holding):
        return "this address is the interface's own, or its network's first or last; choose another"
    return None


def _parsed(text: str, version: Version) -> Address | str:
    """The address, or what is wrong with the text."""
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return f"use an address of version {version}, without a length"
    if found.version != version or (isinstance(found, ipaddress.IPv6Address) and found.scope_id is not None):
        return f"use an address of version {version}, without a zone"
    return found if str(found) == text else f"write it as {found}"
