"""The `streamSettings` of an Xray inbound: how its bytes travel and how they are sealed. Pure.

What always holds: names are those that Xray 26 documents; what it parses but ignores (mKCP's `seed`, which
became a mask) is written as what it heeds.
"""

from typing import Any

from shared import endpoints
from shared.messages import Endpoint

Tree = dict[str, Any]


def build(endpoint: Endpoint) -> Tree:
    """How connections to this endpoint are carried."""
    if endpoint.protocol == "xray-wireguard":
        return {}
    if endpoint.protocol == "hysteria":
        carried: Tree = {"network": "hysteria", "hysteriaSettings": {"version": 2}}
    else:
        carried = _transport(endpoint.transport)
    return carried | _security(endpoint.security)


def networks(inbound: Tree) -> frozenset[str]:
    """On what an inbound listens, "tcp", "udp" or both, by its finished configuration."""
    stream = inbound.get("streamSettings", {})
    carried = str(stream.get("method") or stream.get("network") or "tcp").lower()
    protocol = inbound["protocol"]
    if protocol == "wireguard" or carried in ("hysteria", "mkcp", "kcp"):
        return frozenset({"udp"})
    if carried in ("xhttp", "splithttp") and stream.get("tlsSettings", {}).get("alpn") == ["h3"]:
        return frozenset({"udp"})
    if protocol == "shadowsocks":
        return frozenset(str(inbound.get("settings", {}).get("network", "tcp")).split(","))
    return frozenset({"tcp"})


def _transport(chosen: endpoints.Transport) -> Tree:
    made: Tree = {"network": "raw"}
    match chosen:
        case endpoints.WebSocket(path=path, host=host):
            made = {"network": "websocket", "wsSettings": _at(path, host)}
        case endpoints.Grpc(service=service):
            made = {"network": "grpc", "grpcSettings": {"serviceName": service}}
        case endpoints.HttpUpgrade(path=path, host=host):
            made = {"network": "httpupgrade", "httpupgradeSettings": _at(path, host)}
        case endpoints.Xhttp(path=path, host=host, mode=mode):
            made = {"network": "xhttp", "xhttpSettings": _at(path, host) | {"mode": mode}}
        case endpoints.Mkcp(seed=seed, mtu=mtu):
            made = {"network": "mkcp", "kcpSettings": {"mtu": mtu}} | _mask(seed)
    return made


def _at(path: str, host: str) -> Tree:
    return {"path": path, "host": host} if host else {"path": path}


def _mask(seed: str) -> Tree:
    """What mKCP had before Xray 26: its checksum, or its cipher where there is a seed."""
    return {"finalmask": {"udp": [{"type": "mkcp-legacy", "settings": {"value": seed}}]}}


def _security(chosen: endpoints.Security) -> Tree:
    match chosen:
        case endpoints.Tls():
            return {"security": "tls", "tlsSettings": _tls(chosen)}
        case endpoints.Reality():
            return {"security": "reality", "realitySettings": _reality(chosen)}
    return {"security": "none"}


def _tls(chosen: endpoints.Tls) -> Tree:
    if chosen.certificate:
        pair: Tree = {"certificate": chosen.certificate.splitlines(), "key": chosen.key.splitlines()}
    else:
        pair = {"certificateFile": chosen.certificate_file, "keyFile": chosen.key_file}
    more: Tree = {"serverName": chosen.server_name} if chosen.server_name else {}
    if chosen.alpn:
        more["alpn"] = list(chosen.alpn)
    return {"certificates": [pair]} | more


def _reality(chosen: endpoints.Reality) -> Tree:
    return {
        "target": chosen.target,
        "serverNames": list(chosen.server_names),
        "privateKey": chosen.private_key,
        "shortIds": list(chosen.short_ids),
    }
