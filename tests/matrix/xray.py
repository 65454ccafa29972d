"""Xray as a client: one process with a SOCKS port for each endpoint."""

from collections.abc import Mapping
from typing import Any

from shared import credentials, endpoints
from shared.names import UserId
from tests.matrix import keys
from tests.matrix.combinations import OBFUSCATION, Combination, tunnel_address

Tree = dict[str, Any]


def refusal(_one: Combination) -> str | None:
    """Xray goes every way."""
    return None


def config(ways: Mapping[int, Combination], user: UserId, address: str) -> Tree:
    """The configuration; `ways` are the endpoints by SOCKS port."""
    return {
        "log": {"loglevel": "error", "access": "none"},
        "inbounds": [
            {"tag": f"from-{port}", "listen": "127.0.0.1", "port": port, "protocol": "socks", "settings": {}}
            for port in ways
        ],
        "outbounds": [_outbound(one, user, address) | {"tag": f"to-{port}"} for port, one in ways.items()],
        "routing": {
            "rules": [{"inboundTag": [f"from-{port}"], "outboundTag": f"to-{port}"} for port in ways]
        },
    }


def _outbound(one: Combination, user: UserId, address: str) -> Tree:
    endpoint = one.endpoint
    if endpoint.protocol == "xray-wireguard":
        return {"protocol": "wireguard", "settings": _wireguard(one, user, address)}
    settings = {"address": address, "port": endpoint.port} | _settings(one, user)
    return {"protocol": endpoint.protocol, "settings": settings, "streamSettings": _stream(one, user)}


def _settings(one: Combination, user: UserId) -> Tree:
    account, endpoint = one.account(user), one.endpoint
    match endpoint.protocol:
        case "vless":
            flow = endpoint.options.flow if isinstance(endpoint.options, endpoints.Vless) else ""
            return {"id": account.uuid, "encryption": one.encryption, "flow": flow}
        case "vmess":
            return {"id": account.uuid, "security": "auto"}
        case "trojan":
            return {"password": credentials.password(account.uuid)}
        case "hysteria":
            return {"version": 2}
    assert isinstance(endpoint.options, endpoints.Shadowsocks)
    method, key = endpoint.options.method, endpoint.options.key
    secret = credentials.shadowsocks(account.uuid, method)
    return {"method": method, "password": f"{key}:{secret}" if key else secret}


def _stream(one: Combination, user: UserId) -> Tree:
    endpoint = one.endpoint
    made = _transport(endpoint.transport)
    if endpoint.protocol == "hysteria":
        auth = credentials.password(one.account(user).uuid)
        made = {"network": "hysteria", "hysteriaSettings": {"version": 2, "auth": auth}}
        if endpoint.extra:
            mask = {"type": "salamander", "settings": {"password": OBFUSCATION}}
            made["finalmask"] = {"udp": [mask]}
    match endpoint.security:
        case endpoints.Tls(alpn=alpn):
            tls: Tree = {"serverName": keys.NAME, "pinnedPeerCertSha256": one.fingerprint}
            return made | {"security": "tls", "tlsSettings": tls | ({"alpn": list(alpn)} if alpn else {})}
        case endpoints.Reality(short_ids=short_ids):
            known = {"serverName": keys.NAME, "password": one.reality_key, "shortId": short_ids[0]}
            return made | {"security": "reality", "realitySettings": known | {"fingerprint": "chrome"}}
    return made


def _transport(chosen: endpoints.Transport) -> Tree:
    match chosen:
        case endpoints.WebSocket(path=path, host=host):
            return {"network": "websocket", "wsSettings": {"path": path, "host": host}}
        case endpoints.HttpUpgrade(path=path, host=host):
            return {"network": "httpupgrade", "httpupgradeSettings": {"path": path, "host": host}}
        case endpoints.Grpc(service=service):
            return {"network": "grpc", "grpcSettings": {"serviceName": service}}
        case endpoints.Xhttp(path=path, host=host):
            return {"network": "xhttp", "xhttpSettings": {"path": path, "host": host}}
        case endpoints.Mkcp(seed=seed, mtu=mtu):
            mask = {"type": "mkcp-legacy", "settings": {"value": seed} if seed else {}}
            return {"network": "mkcp", "kcpSettings": {"mtu": mtu}, "finalmask": {"udp": [mask]}}
    return {"network": "raw"}


def _wireguard(one: Combination, user: UserId, address: str) -> Tree:
    server = {"publicKey": one.wireguard_key, "endpoint": f"{address}:{one.endpoint.port}"}
    return {
        "secretKey": one.peers[user].standard()[0],
        "address": [f"{tunnel_address(user)}/32"],
        "peers": [server | {"allowedIPs": ["0.0.0.0/0"]}],
        "noKernelTun": True,
    }
