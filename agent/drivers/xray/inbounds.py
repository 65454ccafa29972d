"""One endpoint as an inbound of Xray's configuration: pure.

What always holds: `extra` adds to an inbound and changes it, but not who it is, where it listens, which
accounts it has or of what kind they are; an inbound of Shadowsocks 2022 has an account from its start, since
one without any serves a single user for ever.
"""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from agent.drivers.xray import kinds, labels, streams
from shared import endpoints
from shared.messages import Endpoint

#: E-mail of the account that an inbound of Shadowsocks 2022 begins with; nobody knows its key.
SEED = "seed"

#: Of Shadowsocks; packets have a listener of their own, whatever carries its streams.
_NETWORK = "tcp,udp"
_OURS = ("tag", "listen", "port", "protocol")
#: Settings that say which accounts there are and of what kind.
OUR_SETTINGS = ("clients", "users", "peers", "method", "password", "version", "secretKey", "flow")

Logins = Mapping[str, kinds.Login]


def build(endpoint: Endpoint, logins: Logins, seed: bytes) -> streams.Tree:
    """The inbound with these accounts by e-mail; `seed` is 32 bytes that nobody can guess."""
    made: streams.Tree = {
        "tag": labels.tag(endpoint.endpoint),
        "listen": endpoint.listen,
        "port": endpoint.port,
        "protocol": "wireguard" if endpoint.protocol == "xray-wireguard" else endpoint.protocol,
        "settings": _settings(endpoint, [_client(email, login) for email, login in logins.items()], seed),
    }
    if stream := streams.build(endpoint):
        made["streamSettings"] = stream
    return merged(made, allowed_extra(endpoint.extra or {}))


def allowed_extra(extra: Mapping[str, Any]) -> streams.Tree:
    """What of the raw part may be merged."""
    kept = {name: value for name, value in extra.items() if name not in _OURS}
    settings = kept.get("settings")
    if isinstance(settings, Mapping):
        kept["settings"] = {name: value for name, value in settings.items() if name not in OUR_SETTINGS}
    elif "settings" in kept:
        del kept["settings"]
    return kept


def forbidden(extra: Mapping[str, Any]) -> list[str]:
    """The names in the raw part that may not be there, with their path."""
    settings = extra.get("settings", {})
    inner = OUR_SETTINGS if isinstance(settings, Mapping) else ()
    return [name for name in _OURS if name in extra] + [f"settings.{n}" for n in inner if n in settings]


def merged(base: Mapping[str, Any], more: Mapping[str, Any]) -> streams.Tree:
    """The one with the other over it: objects are joined, everything else is replaced."""
    joined = dict(base)
    for name, value in more.items():
        before = joined.get(name)
        both = isinstance(before, Mapping) and isinstance(value, Mapping)
        joined[name] = merged(before, value) if both else value  # type: ignore[arg-type]  # both are mappings
    return joined


def _settings(endpoint: Endpoint, clients: Sequence[streams.Tree], seed: bytes) -> streams.Tree:
    options = endpoint.options
    match kinds.kind(endpoint):
        case "vless":
            decryption = options.decryption if isinstance(options, endpoints.Vless) else "none"
            return {"decryption": decryption, "clients": clients}
        case "shadowsocks":
            return {"network": _NETWORK, "clients": clients}
        case "shadowsocks-2022":
            return _settings_2022(endpoint, clients, seed)
        case "hysteria":
            return {"version": 2, "clients": clients}
        case "wireguard":
            return _device(options, clients)
    return {"clients": clients}


def _settings_2022(endpoint: Endpoint, clients: Sequence[streams.Tree], seed: bytes) -> streams.Tree:
    options = endpoint.options
    assert isinstance(options, endpoints.Shadowsocks)  # noqa: S101 - its kind was told from them
    first = {"password": credential(seed, options.method), "email": SEED, "level": 0}
    return {
        "method": options.method,
        "password": options.key,
        "network": _NETWORK,
        "clients": [first, *clients],
    }


def credential(seed: bytes, method: str) -> str:
    """A key of the length that this method wants."""
    return base64.b64encode(seed[: 16 if "128" in method else 32]).decode()


def _device(options: endpoints.Options | None, peers: Sequence[streams.Tree]) -> streams.Tree:
    if not isinstance(options, endpoints.WireGuard):
        raise ValueError("a WireGuard endpoint needs its private key in options")  # noqa: TRY004
    addresses = [text.partition("/")[0] for text in options.addresses]
    return {"secretKey": options.private_key, "address": addresses, "mtu": options.mtu, "peers": peers}


def _client(email: str, login: kinds.Login) -> streams.Tree:
    common: streams.Tree = {"email": email, "level": 0}
    match login.kind:
        case "vless":
            return common | {"id": login.secret, "flow": login.detail}
        case "vmess":
            return common | {"id": login.secret}
        case "hysteria":
            return common | {"auth": login.secret}
        case "shadowsocks":
            return common | {"password": login.secret, "method": login.detail}
        case "wireguard":
            return common | _peer(login)
    return common | {"password": login.secret}


def _peer(login: kinds.Login) -> streams.Tree:
    preshared = kinds.preshared(login)
    made: streams.Tree = {"publicKey": login.secret, "allowedIPs": kinds.allowed(login)}
    return made | {"preSharedKey": preshared} if preshared else made
