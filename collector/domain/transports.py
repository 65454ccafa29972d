"""Transports: which of them carry which protocol, and what would be wrong in one (rows T1, R5).

What always holds: what is accepted here Xray starts with and answers clients on. The rules are those of
infra/conf and transport/internet of Xray-core v26; where it starts and then answers nobody, this refuses.
"""

import re
from collections.abc import Mapping

from collector.domain import names
from shared.endpoints import Grpc, HttpUpgrade, Mkcp, Protocol, Tcp, Transport, WebSocket, Xhttp

#: Protocols that bring a transport of their own.
ALONE = ("hysteria", "xray-wireguard", "wireguard")
#: What a web server in front of the node can pass on, TLS being its part then.
BEHIND_WEB_SERVERS = (WebSocket, Grpc, HttpUpgrade, Xhttp)
#: Xray compares the path of a request as it stands there after decoding, without its query.
_PATH = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@/-]{0,1023}")
_SERVICE = re.compile(r"[A-Za-z0-9._-]{1,128}")
_MAX_SEED = 128
_MIN_MKCP_MTU, _MAX_MKCP_MTU = 576, 1460


def wrong(protocol: Protocol, transport: Transport) -> dict[str, str]:
    """What is wrong with the transport of an endpoint, by field."""
    if protocol in ALONE and transport != Tcp():
        return {"transport": f"leave it out: {protocol} has a transport of its own"}
    if protocol == "shadowsocks" and not isinstance(transport, Tcp):
        return {"transport": "use tcp, or leave it out: shadowsocks has no other transport here"}
    return {f"transport.{name}": problem for name, problem in _inside(transport).items()}


def _inside(transport: Transport) -> Mapping[str, str]:
    match transport:
        case WebSocket() | HttpUpgrade() | Xhttp():
            return names.collect(path=_wrong_path(transport.path), host=_wrong_host(transport.host))
        case Grpc():
            return names.collect(service=_wrong_service(transport.service))
        case Mkcp():
            return names.collect(seed=_wrong_seed(transport.seed), mtu=_wrong_mtu(transport.mtu))
        case Tcp():
            return {}


def _wrong_path(path: str) -> str | None:
    if _PATH.fullmatch(path):
        return None
    return "begin with / and go on with letters, digits and -._~!$&'()*+,;=:@/ only, without a query"


def _wrong_host(host: str) -> str | None:
    """Xray compares it with the Host of a request, whose port it takes off."""
    if not host or names.is_domain(host) or (names.is_address(host) and ":" not in host):
        return None
    return "use the one domain name that is answered, without a port, or leave it out to answer all"


def _wrong_service(service: str) -> str | None:
    return None if _SERVICE.fullmatch(service) else "use 1 to 128 letters, digits or . _ -"


def _wrong_seed(seed: str) -> str | None:
    if len(seed) <= _MAX_SEED and seed.isprintable():
        return None
    return f"use up to {_MAX_SEED} printable characters"


def _wrong_mtu(mtu: int) -> str | None:
    if _MIN_MKCP_MTU <= mtu <= _MAX_MKCP_MTU:
        return None
    return f"use a number from {_MIN_MKCP_MTU} to {_MAX_MKCP_MTU}"
