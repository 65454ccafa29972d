"""sing-box as a client: one process with a SOCKS port for each endpoint."""

from collections.abc import Mapping
from typing import Any

from shared import credentials, endpoints
from shared.names import UserId
from tests.matrix import keys
from tests.matrix.combinations import OBFUSCATION, Combination, tunnel_address

Tree = dict[str, Any]


def refusal(one: Combination) -> str | None:
    """Why sing-box, as its Python package builds it, cannot go this way; None when it can."""
    if isinstance(one.endpoint.transport, endpoints.Xhttp | endpoints.Mkcp):
        return "it knows no such transport"
    if one.encryption != "none":
        return "it knows no VLESS encryption"
    if isinstance(one.endpoint.security, endpoints.Reality):
        return "this build is without uTLS, which REALITY needs"
    return None


def config(ways: Mapping[int, Combination], user: UserId, address: str, certificate: str) -> Tree:
    """The configuration; `ways` are the endpoints by SOCKS port."""
    made = {
        port: _outbound(one, user, address, certificate) | {"tag": f"to-{port}"} for port, one in ways.items()
    }
    return {
        "log": {"level": "error"},
        "inbounds": [
            {"type": "socks", "tag": f"from-{port}", "listen": "127.0.0.1", "listen_port": port}
            for port in ways
        ],
        "outbounds": [one for one in made.values() if one["type"] != "wireguard"],
        "endpoints": [one for one in made.values() if one["type"] == "wireguard"],
        "route": {"rules": [{"inbound": f"from-{port}", "outbound": f"to-{port}"} for port in ways]},
    }


def _outbound(one: Combination, user: UserId, address: str, certificate: str) -> Tree:
    account, endpoint = one.account(user), one.endpoint
    if endpoint.protocol == "xray-wireguard":
        return _wireguard(one, user, address)
    made: Tree = {"type": endpoint.protocol, "server": address, "server_port": endpoint.port}
    match endpoint.options:
        case endpoints.Shadowsocks(method=method, key=key):
            secret = credentials.shadowsocks(account.uuid, method)
            made |= {"method": method, "password": f"{key}:{secret}" if key else secret}
        case endpoints.Vless(flow=flow):
            made["flow"] = flow
    if endpoint.protocol in ("vless", "vmess"):
        made["uuid"] = account.uuid
    if endpoint.protocol == "vmess":
        # Left to itself it takes none over TLS, which Xray no longer accepts.
        made["security"] = "aes-128-gcm"
    if endpoint.protocol in ("trojan", "hysteria"):
        made["password"] = credentials.password(account.uuid)
    if endpoint.protocol == "hysteria":
        made["type"] = "hysteria2"
        made |= {"obfs": {"type": "salamander", "password": OBFUSCATION}} if endpoint.extra else {}
    if isinstance(endpoint.security, endpoints.Tls):
        made["tls"] = {"enabled": True, "server_name": keys.NAME, "certificate_path": certificate}
    return made | _transport(endpoint.transport)


def _transport(chosen: endpoints.Transport) -> Tree:
    match chosen:
        case endpoints.WebSocket(path=path, host=host):
            return {"transport": {"type": "ws", "path": path, "headers": {"Host": host}}}
        case endpoints.HttpUpgrade(path=path, host=host):
            return {"transport": {"type": "httpupgrade", "path": path, "host": host}}
        case endpoints.Grpc(service=service):
            return {"transport": {"type": "grpc", "service_name": service}}
    return {}


def _wireguard(one: Combination, user: UserId, address: str) -> Tree:
    server = {"address": address, "port": one.endpoint.port, "public_key": one.wireguard_key}
    return {
        "type": "wireguard",
        "address": [f"{tunnel_address(user)}/32"],
        "private_key": one.peers[user].standard()[0],
        "peers": [server | {"allowed_ips": ["0.0.0.0/0"]}],
    }
