"""An endpoint of every kind of accounts, and accounts on it."""

import base64
import uuid
from pathlib import Path

from shared import endpoints
from shared.messages import Account, Endpoint
from shared.names import EndpointId, UserId
from tests.agent.drivers.xray import rig
from tests.matrix import keys

KINDS = ("vless", "vmess", "trojan", "shadowsocks", "shadowsocks-2022", "hysteria", "wireguard")


def endpoint(kind: str, directory: Path, number: int = 1) -> Endpoint:
    """An endpoint that has accounts of this kind, on a free port."""
    key = base64.b64encode(bytes(range(32))).decode()
    made: dict[str, object] = {"protocol": kind}
    match kind:
        case "vless":
            made = {"protocol": kind, "options": endpoints.Vless()}
        case "shadowsocks":
            made["options"] = endpoints.Shadowsocks(method="aes-128-gcm")
        case "shadowsocks-2022":
            options = endpoints.Shadowsocks(method="2022-blake3-aes-256-gcm", key=key)
            made = {"protocol": "shadowsocks", "options": options}
        case "wireguard":
            options_of = endpoints.WireGuard(private_key=key, addresses=("10.7.0.1/16",))
            made = {"protocol": "xray-wireguard", "options": options_of}
        case "hysteria":
            files = keys.certificate(directory)
            tls = endpoints.Tls(certificate_file=str(files.certificate), key_file=str(files.key))
            made["security"] = tls
    return Endpoint(endpoint=EndpointId(number), port=rig.free_port(), **made)  # type: ignore[arg-type]  # by name


def account(user: int, number: int = 1) -> Account:
    """An account that any kind of endpoint takes: a fresh UUID, and a fresh WireGuard key."""
    address = f"10.7.{user >> 8}.{user & 255}"
    peer = endpoints.Peer(public_key=keys.pair().standard()[1], addresses=(address,))
    return Account(user=UserId(user), endpoint=EndpointId(number), uuid=str(uuid.uuid4()), peer=peer)
