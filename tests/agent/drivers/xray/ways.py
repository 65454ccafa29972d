"""Ways into an Xray, both halves: the endpoint, and a real client's configuration for it.

Users are numbers with credentials of their own.
"""

import base64
import copy
import functools
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from shared import credentials, endpoints
from shared.messages import Account, Endpoint
from shared.names import EndpointId, UserId
from tests.matrix import keys

NAME = "node.test"
ENDPOINT = EndpointId(1)
Config = dict[str, Any]
TCP = endpoints.Tcp()
VLESS = endpoints.Vless()


@dataclass(frozen=True, kw_only=True)
class Way:
    """An endpoint without its port, which client comes to it, and how; `tls` is on both sides."""

    protocol: endpoints.Protocol = "vless"
    transport: endpoints.Transport = TCP
    tls: bool = False
    alpn: tuple[str, ...] = ()
    options: endpoints.Options | None = VLESS
    extra: Config | None = None
    client: Literal["xray", "sing-box"] = "xray"
    stream: Mapping[str, Any] = field(default_factory=dict)
    mux: bool = False


def _xhttp(mode: str, *, tls: bool = False, alpn: tuple[str, ...] = ()) -> Way:
    stream = {"network": "xhttp", "xhttpSettings": {"mode": mode, "path": "/x"}}
    return Way(transport=endpoints.Xhttp(path="/x"), tls=tls, alpn=alpn, stream=stream)


def _shadowsocks(method: Literal["aes-128-gcm", "2022-blake3-aes-128-gcm"]) -> Way:
    options = endpoints.Shadowsocks(method=method, key=SERVER_KEY if method.startswith("2022") else "")
    return Way(protocol="shadowsocks", client="sing-box", options=options)


#: The server's of Shadowsocks 2022.
SERVER_KEY = base64.b64encode(bytes(range(16))).decode()
PLAIN = Way()
WEBSOCKET = Way(
    transport=endpoints.WebSocket(path="/w"), stream={"network": "ws", "wsSettings": {"path": "/w"}}
)
GRPC = Way(
    transport=endpoints.Grpc(service="tun"),
    stream={"network": "grpc", "grpcSettings": {"serviceName": "tun"}},
)
MKCP = Way(
    transport=endpoints.Mkcp(),
    stream={
        "network": "mkcp",
        "finalmask": {"udp": [{"type": "mkcp-legacy", "settings": {"value": ""}}]},
    },
)
HYSTERIA = Way(protocol="hysteria", tls=True, options=None, client="sing-box")
SHADOWSOCKS = _shadowsocks("aes-128-gcm")
SHADOWSOCKS_2022 = _shadowsocks("2022-blake3-aes-128-gcm")

#: All that is on TCP connections which carry more than one stream, or whose streams are on several.
ON_TCP = {
    "mux": Way(mux=True),
    "websocket": WEBSOCKET,
    "grpc": GRPC,
    "xhttp packet-up over HTTP/1.1": _xhttp("packet-up"),
    "xhttp packet-up over HTTP/2": _xhttp("packet-up", tls=True),
    "xhttp stream-up": _xhttp("stream-up", tls=True),
    "xhttp stream-one": _xhttp("stream-one"),
}
ON_UDP = {
    "hysteria": HYSTERIA,
    "mkcp": MKCP,
    "xhttp over HTTP/3": _xhttp("packet-up", tls=True, alpn=("h3",)),
}


def credential(user: int) -> str:
    """The UUID of a user, from which all else is derived."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"user {user}"))


def endpoint(way: Way, port: int) -> Endpoint:
    """The endpoint on this port."""
    own = certificate()
    tls = endpoints.Tls(certificate=own.pem, key=own.key, alpn=way.alpn)
    return Endpoint(
        endpoint=ENDPOINT,
        protocol=way.protocol,
        port=port,
        transport=way.transport,
        security=tls if way.tls else endpoints.Plain(),
        options=way.options,
        extra=way.extra,
    )


def account(user: int, *, up_kbps: int | None = None, down_kbps: int | None = None) -> Account:
    """The account of a user, perhaps with a rate."""
    rate = endpoints.Rate(up_kbps=up_kbps, down_kbps=down_kbps) if up_kbps or down_kbps else None
    return Account(user=UserId(user), endpoint=ENDPOINT, uuid=credential(user), rate=rate)


def client(way: Way, user: int, port: int, socks_port: int, *, home: str) -> Config:
    """The configuration of this way's client, which has a proxy on this port of loopback."""
    make = _sing_box if way.client == "sing-box" else _xray
    return make(way, user, port, socks_port, home)


def _xray(way: Way, user: int, port: int, socks_port: int, home: str) -> Config:
    stream = copy.deepcopy(dict(way.stream))
    if way.tls:
        alpn = {"alpn": list(way.alpn)} if way.alpn else {}
        tls = {"serverName": NAME, "pinnedPeerCertSha256": certificate().fingerprint, **alpn}
        stream |= {"security": "tls", "tlsSettings": tls}
    known_by = {"id": credential(user), "encryption": "none"}
    outbound: Config = {
        "protocol": "vless",
        "sendThrough": home,
        "settings": {"vnext": [{"address": "127.0.0.1", "port": port, "users": [known_by]}]},
        "streamSettings": stream,
    }
    if way.mux:
        outbound["mux"] = {"enabled": True, "concurrency": 8, "xudpConcurrency": 8}
    socks = {"listen": "127.0.0.1", "port": socks_port, "protocol": "socks", "settings": {"udp": True}}
    return {"log": {"loglevel": "warning"}, "inbounds": [socks], "outbounds": [outbound]}


def _sing_box(way: Way, user: int, port: int, socks_port: int, home: str) -> Config:
    outbound: Config = {"server": "127.0.0.1", "server_port": port, "inet4_bind_address": home}
    password = credentials.password(credential(user))
    if isinstance(way.options, endpoints.Shadowsocks):
        method = way.options.method
        if method.startswith("2022"):
            password = f"{SERVER_KEY}:{credentials.shadowsocks(credential(user), method)}"
        outbound |= {"type": "shadowsocks", "method": method, "password": password}
    else:
        tls = {"enabled": True, "server_name": NAME, "insecure": True, "alpn": ["h3"]}
        outbound |= {"type": "hysteria2", "password": password, "tls": tls}
    socks = {"type": "socks", "listen": "127.0.0.1", "listen_port": socks_port}
    return {"log": {"level": "warn"}, "inbounds": [socks], "outbounds": [outbound]}


@functools.cache
def certificate() -> keys.Signed:
    """One for all tests of a process: keys take their time."""
    return keys.signed(NAME)
