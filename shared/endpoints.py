"""What an endpoint is made of beside its address: transport, security, and what its protocol needs (T1, R5).

What always holds: every part is a typed value with a `type`; a field that it does not have is refused, since
it is a typing error; private keys are for the node, never for a log or an event.
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
    """Xray's XHTTP; `auto` takes every mode that a client comes with."""

    path: str = "/"
    host: str = ""
    mode: Literal["auto", "packet-up", "stream-up", "stream-one"] = "auto"


class Mkcp(Part, frozen=True, tag="mkcp"):
    """Reliable streams on UDP; `seed` hides them, and every client must know it."""

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

    `private_key` is X25519 in base64url without padding, as `xray x25519` prints it.
    """

    target: str
    server_names: tuple[str, ...]
    private_key: str
    short_ids: tuple[str, ...] = ("",)


Security = Plain | Tls | Reality


# --- what single protocols need ----------------------------------------------------------------------------


class Vless(Part, frozen=True, tag="vless"):
    """`decryption` is the server's half of VLESS encryption, as `xray vlessenc` prints it."""

    flow: Literal["", "xtls-rprx-vision"] = ""
    decryption: str = "none"


class Shadowsocks(Part, frozen=True, tag="shadowsocks"):
    """`key` is the server's of the 2022 methods: 16 or 32 bytes in base64."""

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

    private_key: str
    addresses: tuple[str, ...]
    mtu: int = 1420
    masquerade: bool = True


Options = Vless | Shadowsocks | WireGuard


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
