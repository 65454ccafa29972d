"""A user's configuration as wg-quick(8) and every WireGuard app read it.

What always holds: a line begins with a word of ours, and what follows is made of parsed values, or of
characters that no syntax treats as its own: wg-quick runs as root and takes commands from such files
(wg-easy CVE-2026-72603).
"""

import ipaddress
import re
from dataclasses import dataclass

from collector.domain.wireguard import Keys

KEEPALIVE_S = 25
#: What the user replaces who keeps his private key himself.
PLACEHOLDER = "REPLACE-WITH-YOUR-PRIVATE-KEY"
_ODD = re.compile(r"[^A-Za-z0-9 ._@-]")
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}")
_KEY = re.compile(r"[A-Za-z0-9+/]{43}=")


@dataclass(frozen=True, kw_only=True)
class Tunnel:
    """What a configuration is made of.

    `public_key` is the interface's; `host` and `port` are where it is reached; `dns` may name servers of
    versions that the user has no address of.
    """

    title: str
    keys: Keys
    addresses: tuple[str, ...]
    dns: tuple[str, ...]
    mtu: int
    public_key: str
    host: str
    port: int


def text(tunnel: Tunnel) -> str:
    """The configuration, complete but for a private key that only the user has."""
    addresses = [ipaddress.ip_address(one) for one in tunnel.addresses]
    versions = {one.version for one in addresses}
    dns = [str(one) for one in map(ipaddress.ip_address, tunnel.dns) if one.version in versions]
    lines = [
        f"# {comment(tunnel.title)}",
        "[Interface]",
        *_private_key(tunnel.keys),
        f"Address = {', '.join(f'{one}/{one.max_prefixlen}' for one in addresses)}",
        *([f"DNS = {', '.join(dns)}"] if dns else []),
        f"MTU = {tunnel.mtu:d}",
        "",
        "[Peer]",
        f"PublicKey = {_key(tunnel.public_key)}",
        f"PresharedKey = {_key(tunnel.keys.preshared)}",
        f"Endpoint = {authority(tunnel.host)}:{tunnel.port:d}",
        "AllowedIPs = 0.0.0.0/0, ::/0",
        f"PersistentKeepalive = {KEEPALIVE_S}",
    ]
    return "\n".join(lines) + "\n"


def comment(name: str) -> str:
    """A name with whatever could end a comment, or mean something to a shell, replaced."""
    return _ODD.sub("_", name)


def authority(host: str) -> str:
    """A host as it stands before a port. Raises ValueError for what is none."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        if _HOST.fullmatch(host):
            return host
        raise ValueError("the host of an endpoint is a name or an address") from None
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.scope_id is not None:
        raise ValueError("the address of an endpoint has no zone")
    return f"[{address}]"


def _private_key(keys: Keys) -> list[str]:
    if keys.private is not None:
        return [f"PrivateKey = {_key(keys.private)}"]
    return [
        "# Your private key is known to you only. Put it in the place of the words below;",
        f"# it is the one that belongs to the public key {_key(keys.public)}",
        f"PrivateKey = {PLACEHOLDER}",
    ]


def _key(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise ValueError("a key is 32 bytes in base64")
    return key
