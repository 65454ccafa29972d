"""Xray's configuration for what is to be served: pure.

What always holds: nothing but VLESS inbounds is configured, so an account of another kind cannot be sent to
one (it would kill Xray); every connection is reported to the host through the webhook of a rule that matches
all and routes as the default would; the access log is off, since it drops lines under load and would hold
client addresses.
"""

import hashlib
import json
from collections.abc import Mapping

from agent.core.served import Served
from agent.drivers.xray import labels, options, runfile
from shared.messages import Account, Endpoint
from shared.names import EndpointId

_MAX_PORT = 65_535
_POLICY = {"statsUserUplink": True, "statsUserDownlink": True, "statsUserOnline": True}


def build(served: Served, chosen: options.Options) -> dict[str, object]:
    """The configuration as Xray reads it."""
    accounts: dict[EndpointId, list[Account]] = {endpoint: [] for endpoint in served.endpoints}
    for account in served.accounts.values():
        accounts[account.endpoint].append(account)
    allow = {"finalRules": [{"action": "allow"}]} if chosen.allow_private_targets else {}
    rule = {
        "network": "tcp,udp",
        "outboundTag": "direct",
        "webhook": {"url": f"{chosen.webhook}:/connection"},
    }
    return {
        "log": {"loglevel": "warning", "access": "none"},
        "api": {"tag": "api", "listen": str(chosen.api), "services": ["HandlerService", "StatsService"]},
        "stats": {},
        "policy": {"levels": {"0": _POLICY}},
        "routing": {"domainStrategy": "AsIs", "rules": [rule]},
        "inbounds": [_inbound(endpoint, accounts[key]) for key, endpoint in served.endpoints.items()],
        "outbounds": [{"tag": "direct", "protocol": "freedom", "settings": allow}],
    }


def text(served: Served, chosen: options.Options) -> str:
    """The configuration as JSON."""
    return json.dumps(build(served, chosen))


def digest(endpoints: Mapping[EndpointId, Endpoint], chosen: options.Options) -> str:
    """A fingerprint of everything that only a restart can change: all but the accounts."""
    skeleton = build(Served(endpoints=endpoints), chosen)
    whole = json.dumps([skeleton, str(chosen.binary), chosen.splice], sort_keys=True)
    return hashlib.sha256(whole.encode()).hexdigest()


def problems(endpoints: Mapping[EndpointId, Endpoint]) -> list[str]:
    """What is wrong with these endpoints, a sentence each; Xray itself would not say."""
    found: list[str] = []
    ports: dict[int, EndpointId] = {}
    for key, endpoint in sorted(endpoints.items()):
        if endpoint.protocol != "vless":
            found.append(f"endpoint {key}: the protocol {endpoint.protocol!r} is not served here")
        if not 1 <= endpoint.port <= _MAX_PORT:
            found.append(f"endpoint {key}: the port {endpoint.port} is not between 1 and {_MAX_PORT}")
        if (other := ports.setdefault(endpoint.port, key)) != key:
            found.append(f"endpoint {key}: the port {endpoint.port} is already that of endpoint {other}")
    return found


def places(endpoints: Mapping[EndpointId, Endpoint]) -> tuple[runfile.Place, ...]:
    """The endpoints as the host keeps them for the next agent."""
    return tuple(
        runfile.Place(key, endpoint.protocol, endpoint.port, endpoint.listen)
        for key, endpoint in sorted(endpoints.items())
    )


def endpoints_of(kept: tuple[runfile.Place, ...]) -> dict[EndpointId, Endpoint]:
    """The endpoints that a host was started with."""
    return {
        EndpointId(place.endpoint): Endpoint(
            endpoint=EndpointId(place.endpoint), protocol="vless", port=place.port, listen=place.listen
        )
        for place in kept
        if place.protocol == "vless"
    }


def _inbound(endpoint: Endpoint, accounts: list[Account]) -> dict[str, object]:
    clients = [
        {"id": account.uuid, "email": labels.email(account.user, account.endpoint), "level": 0}
        for account in accounts
    ]
    return {
        "tag": labels.tag(endpoint.endpoint),
        "listen": endpoint.listen,
        "port": endpoint.port,
        "protocol": "vless",
        "settings": {"decryption": "none", "clients": clients},
    }
