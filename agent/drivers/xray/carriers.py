"""What carries the bytes of an endpoint's clients, and so how a client of it can be cut: pure.

What always holds: it is told from the finished configuration, whatever part of the endpoint it came from; an
endpoint whose connections may carry several users at once is said to be shared, and one of which Xray is told
other sources than its sockets have is said to be veiled.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from agent.drivers.xray import inbounds, streams
from shared.messages import Endpoint

_SHARED = ("grpc", "gun", "xhttp", "splithttp")


@dataclass(frozen=True, kw_only=True)
class Carriers:
    """How clients come to one port.

    `tcp`, `udp`: on what. `shared`: one connection may carry the streams of many users, as that of a proxy
    does with gRPC and XHTTP, and some of a user's connections are told of nobody. `veiled`: sources are told
    by the PROXY protocol or X-Forwarded-For. `keyed`: the removal of an account ends all it has (WireGuard).
    `quic`: a client may go on from another port, and `masked`: what it is known by then is hidden.
    """

    port: int
    tcp: bool = True
    udp: bool = False
    shared: bool = False
    veiled: bool = False
    keyed: bool = False
    quic: bool = False
    masked: bool = False

    @property
    def letters(self) -> str:
        """What Xray's host has to know of it beside its networks: q for QUIC, s for shared, k for keyed."""
        return "q" * self.quic + "s" * self.shared + "k" * self.keyed

    @property
    def named(self) -> bool:
        """Whether every connection is told of, and is one user's own."""
        return self.tcp and not self.shared and not self.veiled


def of(endpoint: Endpoint) -> Carriers:
    """How clients come to this endpoint."""
    inbound = inbounds.build(endpoint, {}, bytes(32))
    stream = inbound.get("streamSettings", {})
    carried = str(stream.get("method") or stream.get("network") or "tcp").lower()
    networks = streams.networks(inbound)
    shared = carried in _SHARED
    quic = "udp" in networks and (shared or carried == "hysteria")
    return Carriers(
        port=endpoint.port,
        tcp="tcp" in networks,
        udp="udp" in networks,
        shared=shared,
        veiled=_says(stream, "acceptProxyProtocol", "trustedXForwardedFor"),
        keyed=inbound["protocol"] == "wireguard",
        quic=quic,
        masked=quic and bool(stream.get("finalmask", {}).get("udp")),
    )


def _says(raw: object, *names: str) -> bool:
    return any(value for name, value in _settings(raw) if name in names)


def _settings(raw: object) -> Iterator[tuple[str, Any]]:
    if isinstance(raw, Mapping):
        for name, value in raw.items():
            yield name, value
            yield from _settings(value)
    elif isinstance(raw, list):
        for value in raw:
            yield from _settings(value)
