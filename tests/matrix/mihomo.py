"""mihomo as a client: one process with a SOCKS port for each endpoint. JSON is YAML, so that is written."""

from collections.abc import Mapping
from typing import Any

from shared import credentials, endpoints
from shared.names import UserId
from tests.matrix import keys
from tests.matrix.combinations import OBFUSCATION, Combination, tunnel_address

Tree = dict[str, Any]


def refusal(one: Combination) -> str | None:
    """Why mihomo cannot go this way; None when it can."""
    endpoint = one.endpoint
    if isinstance(endpoint.transport, endpoints.Mkcp):
        return "it knows no such transport"
    if isinstance(endpoint.transport, endpoints.Xhttp) and endpoint.protocol != "vless":
        return "it has XHTTP for VLESS only"
    if endpoint.protocol == "trojan" and isinstance(endpoint.security, endpoints.Plain):
        return "it has Trojan with TLS only"
    if isinstance(endpoint.transport, endpoints.Grpc) and isinstance(endpoint.security, endpoints.Plain):
        return "it has gRPC with TLS only"
    return None


def config(ways: Mapping[int, Combination], user: UserId, address: str) -> Tree:
    """The configuration; `ways` are the endpoints by SOCKS port."""
    return {
        "mode": "rule",
        "log-level": "error",
        "ipv6": False,
        "geo-auto-update": False,
        "dns": {"enable": False},
        "profile": {"store-selected": False},
        "listeners": [
            {
                "name": f"from-{port}",
                "type": "socks",
                "listen": "127.0.0.1",
                "port": port,
                "proxy": f"to-{port}",
            }
            for port in ways
        ],
        "proxies": [_proxy(one, user, address) | {"name": f"to-{port}"} for port, one in ways.items()],
        "rules": ["MATCH,REJECT"],
    }


def _proxy(one: Combination, user: UserId, address: str) -> Tree:
    account, endpoint = one.account(user), one.endpoint
    made: Tree = {"type": endpoint.protocol, "server": address, "port": endpoint.port, "udp": True}
    match endpoint.options:
        case endpoints.Shadowsocks(method=method, key=key):
            secret = credentials.shadowsocks(account.uuid, method)
            return made | {"type": "ss", "cipher": method, "password": f"{key}:{secret}" if key else secret}
        case endpoints.Vless(flow=flow):
            made |= {"flow": flow} if flow else {}
            made |= {"encryption": one.encryption} if one.encryption != "none" else {}
    match endpoint.protocol:
        case "xray-wireguard":
            return made | _wireguard(one, user)
        case "vmess":
            made |= {"uuid": account.uuid, "alterId": 0, "cipher": "auto"}
        case "vless":
            made["uuid"] = account.uuid
        case "hysteria":
            made |= {"type": "hysteria2", "password": credentials.password(account.uuid)}
            made |= {"obfs": "salamander", "obfs-password": OBFUSCATION} if endpoint.extra else {}
        case "trojan":
            made["password"] = credentials.password(account.uuid)
    return made | _transport(endpoint.transport) | _security(one)


def _security(one: Combination) -> Tree:
    if isinstance(one.endpoint.security, endpoints.Plain):
        return {}
    named = "servername" if one.endpoint.protocol in ("vless", "vmess") else "sni"
    made: Tree = {"tls": True, named: keys.NAME}
    if isinstance(one.endpoint.security, endpoints.Tls):
        alpn = list(one.endpoint.security.alpn)
        return made | {"fingerprint": one.fingerprint} | ({"alpn": alpn} if alpn else {})
    short = one.endpoint.security.short_ids[0]
    options = {"public-key": one.reality_key, "short-id": short, "support-x25519mlkem768": True}
    return made | {"client-fingerprint": "chrome", "reality-opts": options}


def _transport(chosen: endpoints.Transport) -> Tree:
    match chosen:
        case endpoints.WebSocket(path=path, host=host):
            return {"network": "ws", "ws-opts": {"path": path, "headers": {"Host": host}}}
        case endpoints.HttpUpgrade(path=path, host=host):
            options = {"path": path, "headers": {"Host": host}, "v2ray-http-upgrade": True}
            return {"network": "ws", "ws-opts": options}
        case endpoints.Grpc(service=service):
            return {"network": "grpc", "grpc-opts": {"grpc-service-name": service}}
        case endpoints.Xhttp(path=path, host=host):
            return {"network": "xhttp", "xhttp-opts": {"path": path, "host": host, "mode": "auto"}}
    return {}


def _wireguard(one: Combination, user: UserId) -> Tree:
    return {
        "type": "wireguard",
        "ip": tunnel_address(user),
        "private-key": one.peers[user].standard()[0],
        "public-key": one.wireguard_key,
        "allowed-ips": ["0.0.0.0/0"],
    }
