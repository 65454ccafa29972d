"""What an endpoint is made of beside its address: transport, security, and what its protocol needs (T1, R5).

What always holds: every part is a typed value with a `type`; a field that it does not have is refused, since
it is a typing error; private keys are for the node, never for a log or an event. A key that is empty is yet
to be made by the collector: a node never sees one.
"""

from typing import Literal

import msgspec

Protocol = Literal["vless", "vmess", "trojan", "shadowsocks", "hysteria", "xray-wireguard", "wireguard"]


class Part(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    forbid_unknown_fields=True,
    tag_field="type",
):
    """Base of the parts of an endpoint."""


# --- transports --------------------------------------------------------------------------------------------


class Tcp(Part, frozen=True, tag="tcp"):
    """The protocol itself on TCP (Xray: raw)."""


class WebSocket(Part, frozen=True, tag="websocket"):
    """RFC 6455; `host` is the only one answered, the empty one answers all."""

    path: str = "/"
    host: str = ""


class Grpc(Part, frozen=True, tag="grpc"):
    """Streams of a gRPC service of this name."""

    service: str


class HttpUpgrade(Part, frozen=True, tag="httpupgrade"):
    """An HTTP/1.1 upgrade without the frames of WebSocket."""

    path: str = "/"
    host: str = ""


class Xhttp(Part, frozen=True, tag="xhttp"):
    """Xray's XHTTP; `auto` takes every mode that a client comes with.

    With TLS whose only ALPN is `h3` it is served on UDP.
    """

    path: str = "/"
    host: str = ""
    mode: Literal["auto", "packet-up", "stream-up", "stream-one"] = "auto"


class Mkcp(Part, frozen=True, tag="mkcp"):
    """Reliable streams on UDP; `seed` hides them, and every client must know it.

    Xray reads `seed` and `header` of kcpSettings since v26 and does nothing with them: the seed is the value
    of the mask `mkcp-legacy` in `finalmask.udp`, and no seed is that mask without a value.
    """

    seed: str = ""
    mtu: int = 1350


Transport = Tcp | WebSocket | Grpc | HttpUpgrade | Xhttp | Mkcp


# --- security ----------------------------------------------------------------------------------------------


class Plain(Part, frozen=True, tag="none"):
    """No encryption but the protocol's own."""


class Tls(Part, frozen=True, tag="tls"):
    """TLS with a certificate: PEM texts, or absolute paths of files on the node. One pair of the two."""

    server_name: str = ""
    certificate: str = ""
    key: str = ""
    certificate_file: str = ""
    key_file: str = ""
    alpn: tuple[str, ...] = ()


class Reality(Part, frozen=True, tag="reality"):
    """Xray's REALITY: `target` is the host:port of the site that is shown to strangers.

    `private_key` is X25519 in base64url without padding, as `xray x25519` prints it. Of the `short_ids` every
    client has one; the empty one lets those in who have none.
    """

    target: str
    server_names: tuple[str, ...]
    private_key: str = ""
    short_ids: tuple[str, ...] = ()


Security = Plain | Tls | Reality


# --- what single protocols need ----------------------------------------------------------------------------


class Vless(Part, frozen=True, tag="vless"):
    """`decryption` is the server's half of VLESS encryption, as `xray vlessenc` prints it."""

    flow: Literal["", "xtls-rprx-vision"] = ""
    decryption: str = "none"


class Shadowsocks(Part, frozen=True, tag="shadowsocks"):
    """`key` is the server's of the 2022 methods, 16 or 32 bytes in base64; other methods have none."""

    method: Literal[
        "aes-128-gcm",
        "aes-256-gcm",
        "chacha20-ietf-poly1305",
        "2022-blake3-aes-128-gcm",
        "2022-blake3-aes-256-gcm",
    ]
    key: str = ""


class WireGuard(Part, frozen=True, tag="wireguard"):
    """The interface of a WireGuard endpoint. Keys are 32 bytes in base64.

    `addresses` are the interface's own with the length of their network: peers have theirs in it.
    """

    addresses: tuple[str, ...]
    private_key: str = ""
    mtu: int = 1420
    masquerade: bool = True


Options = Vless | Shadowsocks | WireGuard

#: Bytes of a server's and of a user's key by method (SIP022 section 2.2).
SHADOWSOCKS_KEY_BYTES = {"2022-blake3-aes-128-gcm": 16, "2022-blake3-aes-256-gcm": 32}

_UDP_ONLY = ("hysteria", "xray-wireguard", "wireguard")


def networks(protocol: Protocol, transport: Transport, security: Security) -> frozenset[str]:
    """On which of "tcp" and "udp" such an endpoint listens."""
    if protocol == "shadowsocks":
        return frozenset({"tcp", "udp"})
    quic = isinstance(transport, Xhttp) and isinstance(security, Tls) and security.alpn == ("h3",)
    on_udp = protocol in _UDP_ONLY or isinstance(transport, Mkcp) or quic
    return frozenset({"udp" if on_udp else "tcp"})


# --- what a WireGuard account has instead of a UUID --------------------------------------------------------


class Peer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A user of a WireGuard endpoint: keys of 32 bytes in base64, and his addresses in the tunnel.

    Addresses have no length: each is one host's.
    """

    public_key: str
    preshared_key: str | None = None
    addresses: tuple[str, ...] = ()


class Rate(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Highest speed of a user on an endpoint, in kbit/s, from his side; None is no limit."""

    up_kbps: int | None = None
    down_kbps: int | None = None
