"""What single protocols need of an endpoint: VLESS, Shadowsocks and WireGuard (rows T1, R5).

What always holds: no key of a wrong length is accepted (Xray's WireGuard takes the whole process down for
one), and no two WireGuard interfaces of a node share a network.
"""

import base64
import ipaddress
import re
from collections.abc import Iterable, Mapping

from collector.domain import names
from shared.endpoints import (
    SHADOWSOCKS_KEY_BYTES,
    Options,
    Protocol,
    Reality,
    Security,
    Shadowsocks,
    Tcp,
    Tls,
    Transport,
    Vless,
    WireGuard,
)

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface

#: Which options a protocol takes, and whether it needs them.
_TAKEN: Mapping[str, tuple[type[Options], bool]] = {
    "vless": (Vless, False),
    "shadowsocks": (Shadowsocks, True),
    "xray-wireguard": (WireGuard, True),
    "wireguard": (WireGuard, True),
}
_KEY_BYTES = 32
_MIN_WIREGUARD_MTU, _MAX_WIREGUARD_MTU = 1280, 9000
_MAX_ADDRESSES = 8
#: A network must have room for a peer beside the interface, and is not half of the internet.
_LENGTHS = {4: (8, 30), 6: (16, 126)}
_ADDRESS = re.compile(r"[0-9A-Fa-f.:]+/[0-9]{1,3}")
#: `xray vlessenc` prints method, look, life of tickets and keys; paddings may stand before the keys. What has
#: 20 characters and more is a key to Xray.
_DECRYPTION = re.compile(
    r"mlkem768x25519plus\.(?:native|xorpub|random)\.[0-9]{1,6}(?:-[0-9]{1,6})?s?"
    r"(?P<paddings>(?:\.[0-9]{1,5}-[0-9]{1,5}-[0-9]{1,5})*)"
    r"(?:\.(?:[A-Za-z0-9_-]{43}|[A-Za-z0-9_-]{86})){1,8}"
)
#: Lowest probability, shortest and longest length of the first padding, and the most of all together.
_FIRST_PADDING = (100, 35, 35)
_MAX_PADDING = 65_553


def wrong(
    protocol: Protocol, transport: Transport, security: Security, options: Options | None
) -> dict[str, str]:
    """What is wrong with the options of an endpoint, by field."""
    kind, needed = _TAKEN.get(protocol, (None, False))
    if options is None:
        return {"options": _needed(protocol)} if needed else {}
    if kind is None:
        return {"options": f"leave them out: {protocol} has none"}
    if not isinstance(options, kind):
        return {"options": f"give those of {protocol}, with the type {kind.__struct_config__.tag}"}
    inside = _inside(protocol, transport, security, options)
    return {f"options.{name}": problem for name, problem in inside.items()}


def networks_of(options: Options | None) -> list[Network]:
    """The networks of a WireGuard interface; others have none."""
    if not isinstance(options, WireGuard):
        return []
    return [interface.network for one in options.addresses if (interface := _interface(one))]


def overlapping(some: Iterable[Network], others: Iterable[Network]) -> tuple[Network, Network] | None:
    """Two networks that share an address."""
    rest = list(others)
    return next(((one, other) for one in some for other in rest if _overlap(one, other)), None)


def _needed(protocol: Protocol) -> str:
    if protocol == "shadowsocks":
        return 'name the method, as in {"type": "shadowsocks", "method": "2022-blake3-aes-128-gcm"}'
    return 'name the interface\'s addresses, as in {"type": "wireguard", "addresses": ["10.8.0.1/24"]}'


def _inside(protocol: Protocol, transport: Transport, security: Security, options: Options) -> dict[str, str]:
    match options:
        case Vless():
            return names.collect(
                flow=_wrong_flow(options, transport, security), decryption=_wrong_decryption(options)
            )
        case Shadowsocks():
            return names.collect(key=_wrong_shadowsocks_key(options))
        case WireGuard():
            return _wrong_wireguard(protocol, options)


def _wrong_flow(options: Vless, transport: Transport, security: Security) -> str | None:
    """Vision takes TLS records out of their connection: it needs to hold that itself.

    Source: proxy/vless/inbound/inbound.go, "XTLS only supports TLS and REALITY directly".
    """
    direct = isinstance(transport, Tcp) and isinstance(security, Tls | Reality)
    if not options.flow or direct or options.decryption != "none":
        return None
    return "leave it out here: it needs tcp with tls or reality, or VLESS encryption"


def _wrong_decryption(options: Vless) -> str | None:
    found = _DECRYPTION.fullmatch(options.decryption)
    if options.decryption == "none" or (found and _good_paddings(found["paddings"])):
        return None
    return "use none, or the line that `xray vlessenc` prints for decryption"


def _good_paddings(text: str) -> bool:
    """As Xray takes them: every second one is a pause, the others are lengths."""
    paddings = [tuple(map(int, one.split("-"))) for one in text.split(".") if one]
    fits = all(
        given >= least for first in paddings[:1] for given, least in zip(first, _FIRST_PADDING, strict=True)
    )
    return fits and sum(max(one[1:]) for one in paddings[::2]) <= _MAX_PADDING


def _wrong_shadowsocks_key(options: Shadowsocks) -> str | None:
    size = SHADOWSOCKS_KEY_BYTES.get(options.method)
    if size is None:
        return f"leave it out: {options.method} has no key but the users' own" if options.key else None
    if _is_key(options.key, size):
        return None
    return f"use {size} bytes in base64, as `openssl rand -base64 {size}` prints them, or leave it out"


def _wrong_wireguard(protocol: Protocol, options: WireGuard) -> dict[str, str]:
    lowest, highest = _MIN_WIREGUARD_MTU, _MAX_WIREGUARD_MTU
    unmasked = protocol == "xray-wireguard" and not options.masquerade
    return names.collect(
        private_key=None
        if _is_key(options.private_key, _KEY_BYTES)
        else "use 32 bytes in base64, as `wg genkey` prints them, or leave it out to have one made",
        addresses=_wrong_addresses(options.addresses),
        mtu=None if lowest <= options.mtu <= highest else f"use a number from {lowest} to {highest}",
        masquerade="use true: what leaves Xray always has the node's own address" if unmasked else None,
    )


def _wrong_addresses(addresses: tuple[str, ...]) -> str | None:
    if not 1 <= len(addresses) <= _MAX_ADDRESSES:
        return f"give 1 to {_MAX_ADDRESSES} addresses of the interface, as in 10.8.0.1/24"
    interfaces = [_interface(one) for one in addresses]
    if any(one is None or not _is_usable(one) for one in interfaces):
        return (
            "use addresses of hosts with the length of their network, 8 to 30 for IPv4 and 16 to 126 for IPv6"
        )
    found = networks_of(WireGuard(addresses))
    for place, network in enumerate(found):
        if pair := overlapping([network], found[:place]):
            return f"{pair[0]} and {pair[1]} overlap: use networks that share no address"
    return None


def _interface(text: str) -> Interface | None:
    try:
        return ipaddress.ip_interface(text) if _ADDRESS.fullmatch(text) else None
    except ValueError:
        return None


def _is_usable(interface: Interface) -> bool:
    shortest, longest = _LENGTHS[interface.version]
    network = interface.network
    edges = {network.network_address, *([network.broadcast_address] if interface.version == 4 else [])}  # noqa: PLR2004 - of IP
    odd = interface.is_multicast or interface.is_loopback or interface.is_link_local or interface.is_reserved
    return shortest <= network.prefixlen <= longest and interface.ip not in edges and not odd


def _overlap(one: Network, other: Network) -> bool:
    return one.version == other.version and one.overlaps(other)


def _is_key(text: str, size: int) -> bool:
    try:
        key = base64.b64decode(text, validate=True)
    except ValueError:
        return False
    return len(key) == size and base64.b64encode(key).decode() == text
