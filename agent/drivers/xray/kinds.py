"""What Xray knows an account by on each kind of inbound: pure.

What always holds: the kind of an account follows from its endpoint and from nothing else. An account of
another kind ends the whole of Xray on VLESS, Trojan and classic Shadowsocks inbounds (it panics), so no
login is ever made of anything but the endpoint's own protocol.
"""

import base64
import binascii
import ipaddress
import re
import uuid
from collections.abc import Iterator
from typing import Literal, NamedTuple

from shared import credentials, endpoints
from shared.messages import Account, Endpoint

Kind = Literal["vless", "vmess", "trojan", "shadowsocks", "shadowsocks-2022", "hysteria", "wireguard"]

#: Type of an inbound's own settings by kind, as ListInbounds names it.
INBOUND_TYPES: dict[Kind, str] = {
    "vless": "xray.proxy.vless.inbound.Config",
    "vmess": "xray.proxy.vmess.inbound.Config",
    "trojan": "xray.proxy.trojan.ServerConfig",
    "shadowsocks": "xray.proxy.shadowsocks.ServerConfig",
    "shadowsocks-2022": "xray.proxy.shadowsocks_2022.MultiUserServerConfig",
    "hysteria": "xray.proxy.hysteria.ServerConfig",
    "wireguard": "xray.proxy.wireguard.DeviceConfig",
}

#: Kinds whose inbound takes a second account of the same name without a word, so that both are served.
SILENT: frozenset[Kind] = frozenset({"shadowsocks", "hysteria", "wireguard"})

_KEY_BYTES = 32
_CANONICAL = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)


class Login(NamedTuple):
    """What an account is known by: `secret` is its UUID, password or key.

    `detail` is the flow of VLESS, the method of classic Shadowsocks, and of WireGuard the preshared key and
    the addresses.
    """

    kind: Kind
    secret: str
    detail: str = ""


def kind(endpoint: Endpoint) -> Kind:
    """The kind of accounts that this endpoint has. Raises ValueError when Xray does not serve it."""
    match endpoint.protocol:
        case "shadowsocks":
            return "shadowsocks-2022" if method(endpoint).startswith("2022-") else "shadowsocks"
        case "xray-wireguard":
            return "wireguard"
        case "vless" | "vmess" | "trojan" | "hysteria":
            return endpoint.protocol
    raise ValueError(f"the protocol {endpoint.protocol!r} is not served by Xray")


def method(endpoint: Endpoint) -> str:
    """The method of a Shadowsocks endpoint. Raises ValueError when it has none."""
    if not isinstance(endpoint.options, endpoints.Shadowsocks):
        raise ValueError("a Shadowsocks endpoint needs its method in options")  # noqa: TRY004 - for a person
    return endpoint.options.method


def login(account: Account, endpoint: Endpoint) -> Login:
    """What this account is known by on this endpoint. Raises ValueError in words when it cannot be served."""
    of = kind(endpoint)
    if of == "wireguard":
        return _peer(account)
    text = canonical(account.uuid)
    match of:
        case "vless":
            chosen = endpoint.options
            return Login(of, text, chosen.flow if isinstance(chosen, endpoints.Vless) else "")
        case "shadowsocks":
            return Login(of, credentials.password(text), method(endpoint))
        case "shadowsocks-2022":
            return Login(of, credentials.shadowsocks(text, method(endpoint)))
        case "trojan" | "hysteria":
            return Login(of, credentials.password(text))
    return Login(of, text)


def canonical(text: str) -> str:
    """A UUID in its usual form. Raises ValueError when it is none."""
    if _CANONICAL.fullmatch(text):
        return text  # nearly always, and many times faster
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise ValueError("its credential is not a UUID") from None


def slots(of: Login) -> Iterator[bytes]:
    """The places that this login takes on its inbound: no other may have one of them.

    VLESS and Hysteria ignore two bytes of a UUID (proxy/vless/validator.go, ProcessUUID), WireGuard sends an
    address to one peer only, and all of them let the second account of a secret take the first one's place.
    """
    if of.kind == "wireguard":
        yield bytes.fromhex(of.secret)
        yield from (ipaddress.ip_address(text).packed for text in _addresses(of))
    elif of.kind == "shadowsocks-2022":
        yield base64.b64decode(of.secret)
    else:
        raw = bytes.fromhex(of.secret.replace("-", ""))
        yield raw[:6] + raw[8:]


def identity(of: Login) -> str:
    """The UUID behind a login, where it can be told from it; else the empty text, which no account has."""
    try:
        return canonical(of.secret) if of.kind not in ("wireguard", "shadowsocks-2022") else ""
    except ValueError:
        return ""


def allowed(of: Login) -> list[str]:
    """The addresses of a WireGuard login with their lengths, as Xray has them."""
    return [f"{text}/{32 if '.' in text else 128}" for text in _addresses(of)]


def preshared(of: Login) -> str:
    """The preshared key of a WireGuard login in hexadecimal, empty when it has none."""
    return of.detail.partition(" ")[0]


def wireguard(public: str, preshared: str, allowed_ips: list[str]) -> Login:
    """The login of a peer as Xray shows it: keys in hexadecimal, addresses with their lengths."""
    addresses = sorted(str(ipaddress.ip_interface(text).ip) for text in allowed_ips)
    return Login("wireguard", public, " ".join([preshared, *addresses]))


def _peer(account: Account) -> Login:
    peer = account.peer
    if peer is None:
        raise ValueError("it has no WireGuard key")
    try:
        addresses = [str(ipaddress.ip_address(text)) for text in peer.addresses]
    except ValueError:
        raise ValueError("an address of its WireGuard peer is none") from None
    if not addresses:
        raise ValueError("its WireGuard peer has no address in the tunnel")
    return wireguard(key(peer.public_key), key(peer.preshared_key) if peer.preshared_key else "", addresses)


def key(text: str) -> str:
    """A WireGuard key in hexadecimal. Raises ValueError when it is not 32 bytes in base64."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != _KEY_BYTES:
        raise ValueError("its WireGuard key is not 32 bytes in base64")
    return raw.hex()


def _addresses(of: Login) -> list[str]:
    return of.detail.split(" ")[1:]
