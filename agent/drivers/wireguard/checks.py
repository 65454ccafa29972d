"""Decides what may go into an interface: keys, addresses, names. Pure.

What always holds: what leaves here is canonical and has no sign in it that a line, a shell or a rule set
could take for more than a value; and no sentence repeats a key.
"""

import base64
import binascii
import functools
import ipaddress
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from agent.core.counting import Meter
from shared import endpoints
from shared.messages import Account, Endpoint

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

T = TypeVar("T")

KEY_BYTES = 32
#: IFNAMSIZ of linux/if.h less its closing zero.
NAME_LENGTH = 15
_NAME = re.compile(r"[a-z][a-z0-9-]{0,14}", re.ASCII)
_LENGTH = re.compile(r"[0-9]{1,3}", re.ASCII)
_EVERYWHERE = ("0.0.0.0", "::", "")  # noqa: S104 - what is compared with, not bound to
_MTU = range(1280, 9217)
_PORTS = range(1, 65536)
_MAX_KBPS = 100_000_000


@dataclass(frozen=True, kw_only=True)
class Link:
    """An endpoint as its interface needs it: `addresses` are its own, with the length of their network."""

    private_key: str = field(repr=False)
    port: int
    addresses: tuple[str, ...]
    networks: tuple[Network, ...]
    mtu: int
    masquerade: bool

    @functools.cached_property
    def own(self) -> frozenset[str]:
        """The interface's own addresses, which no peer may have."""
        return frozenset(address.partition("/")[0] for address in self.addresses)

    @functools.cached_property
    def ranges(self) -> tuple[tuple[int, int, int], ...]:
        """The networks as numbers: version, first and last address; asked for ten thousand peers in a row."""
        return tuple((one.version, int(one[0]), int(one[-1])) for one in self.networks)


class Wanted(NamedTuple):
    """An account as its interface needs it; addresses have no length. Rates are kbit/s, None is no limit."""

    meter: Meter
    key: str
    preshared: str | None
    addresses: tuple[str, ...]
    up_kbps: int | None
    down_kbps: int | None

    @property
    def allowed(self) -> tuple[str, ...]:
        """What it may send from and be sent to."""
        return tuple(hosts(self.addresses))


def key(text: str) -> str:
    """A key in canonical base64. Raises ValueError, without the key, for anything else."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != KEY_BYTES:
        raise ValueError("is not a WireGuard key: 32 bytes in base64 are")
    return base64.b64encode(raw).decode("ascii")


def address(text: str) -> Address:
    """A host's address. Raises ValueError for anything else, a scope included."""
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        raise ValueError("is not an address of version 4 or 6") from None
    if isinstance(found, ipaddress.IPv6Address) and (found.scope_id is not None or found.ipv4_mapped):
        raise ValueError("must have no scope, and be no address of version 4 in one of version 6")
    return found


def hosts(addresses: Sequence[str]) -> list[str]:
    """Canonical addresses as networks of one host."""
    return [f"{one}/128" if ":" in one else f"{one}/32" for one in addresses]


def interface_name(text: str) -> str:
    """A name that the kernel, its files and every program take as it is. Raises ValueError."""
    if not _NAME.fullmatch(text):
        raise ValueError(
            f"an interface's name has 1 to {NAME_LENGTH} of a-z, 0-9 and -, and begins with a letter"
        )
    return text


def mirror_name(interface: str) -> str:
    """The name of what limits uploads of an interface: no endpoint has a letter at its end."""
    return interface_name(f"{interface}u")


def link(endpoint: Endpoint) -> Link:
    """What an endpoint asks for. Raises ValueError with a sentence that says what is wrong with it."""
    chosen = endpoint.options
    if endpoint.protocol != "wireguard" or not isinstance(chosen, endpoints.WireGuard):
        raise ValueError("it is no endpoint of WireGuard: its options must be those of WireGuard")
    if endpoint.listen not in _EVERYWHERE:
        raise ValueError("WireGuard listens on every address of a node: leave listen at 0.0.0.0")
    if endpoint.port not in _PORTS:
        raise ValueError("its port must be between 1 and 65535")
    if chosen.mtu not in _MTU:
        raise ValueError(f"its mtu must be between {_MTU.start} and {_MTU.stop - 1}")
    if not chosen.addresses:
        raise ValueError("its interface has no addresses: give it one with the length of its network")
    own = [_own(text) for text in chosen.addresses]
    return Link(
        private_key=_named("its private key", key, chosen.private_key),
        port=endpoint.port,
        addresses=tuple(str(one) for one in own),
        networks=tuple(one.network for one in own),
        mtu=chosen.mtu,
        masquerade=chosen.masquerade,
    )


def wanted(account: Account, served: Link) -> Wanted:
    """What an account asks for on this interface. Raises ValueError with a sentence."""
    if account.peer is None:
        raise ValueError("it has no WireGuard key")
    peer, rate = account.peer, account.rate or endpoints.Rate()
    addresses = tuple(_theirs(text, served) for text in peer.addresses)
    if not addresses:
        raise ValueError("it has no address in the tunnel")
    return Wanted(
        meter=Meter(account.user, account.endpoint),
        key=_named("its public key", key, peer.public_key),
        preshared=_named("its preshared key", key, peer.preshared_key) if peer.preshared_key else None,
        addresses=addresses,
        up_kbps=_rate(rate.up_kbps),
        down_kbps=_rate(rate.down_kbps),
    )


def _own(text: str) -> ipaddress.IPv4Interface | ipaddress.IPv6Interface:
    host, _, length = text.partition("/")
    number = int(length) if _LENGTH.fullmatch(length) else -1  # no network has that one
    try:
        return ipaddress.ip_interface((str(address(host)), number))
    except ValueError:
        raise ValueError("an address of its interface is not one with a length, as 10.8.0.1/24 is") from None


def _theirs(text: str, served: Link) -> str:
    found = _named("its address in the tunnel", address, text)
    number, version = int(found), found.version
    if not any(kind == version and first <= number <= last for kind, first, last in served.ranges):
        raise ValueError("its address in the tunnel is in no network of the endpoint")
    canonical = str(found)
    if canonical in served.own:
        raise ValueError("its address in the tunnel is the endpoint's own")
    return canonical


def _rate(kbps: int | None) -> int | None:
    if kbps is not None and not 0 < kbps <= _MAX_KBPS:
        raise ValueError(f"its speed limit must be between 1 and {_MAX_KBPS} kbit/s")
    return kbps


def _named(what: str, check: Callable[[str], T], text: str) -> T:
    try:
        return check(text)
    except ValueError as wrong:
        raise ValueError(f"{what} {wrong}") from None
