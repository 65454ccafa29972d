"""Xray's configuration for what is to be served: pure.

What always holds: every connection is reported to the host through the webhook of a rule that matches all
and routes as the default would; the access log is off, since it drops lines under load and would hold client
addresses; how one endpoint is configured depends on no other, so each can be told by its own digest.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence

from agent.core.served import Served
from agent.drivers.xray import carriers, checks, dialects, inbounds, kinds, labels, options, runfile, streams
from shared.messages import Endpoint
from shared.names import EndpointId

_POLICY = {"statsUserUplink": True, "statsUserDownlink": True, "statsUserOnline": True}
#: Stands for the seed where a configuration is only compared.
_NO_SEED = bytes(32)


def build(served: Served, chosen: options.Options, seed: bytes) -> streams.Tree:
    """The configuration as Xray reads it. Raises ValueError for an account that has no login."""
    logins: dict[EndpointId, dict[str, kinds.Login]] = {endpoint: {} for endpoint in served.endpoints}
    for account in served.accounts.values():
        email = labels.email(account.user, account.endpoint)
        logins[account.endpoint][email] = kinds.login(account, served.endpoints[account.endpoint])
    made = [inbounds.build(endpoint, logins[key], seed) for key, endpoint in served.endpoints.items()]
    return frame(chosen, made)


def text(
    served: Served, chosen: options.Options, seed: bytes, dialect: dialects.Dialect = dialects.XRAY
) -> str:
    """The configuration as JSON, as this core wants it."""
    private = chosen.allow_private_targets
    return json.dumps(dialect.configured(build(served, chosen, seed), api=str(chosen.api), private=private))


def frame(chosen: options.Options, made: Sequence[streams.Tree]) -> streams.Tree:
    """Everything around these inbounds."""
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
        "inbounds": list(made),
        "outbounds": [{"tag": "direct", "protocol": "freedom", "settings": allow}],
    }


def trial(chosen: options.Options, api: str, made: Sequence[streams.Tree]) -> streams.Tree:
    """A configuration that tries inbounds and does nothing else: it reports nothing and its API is here."""
    whole = frame(chosen, made)
    return {
        "log": whole["log"],
        "api": whole["api"] | {"listen": api, "services": ["HandlerService", "StatsService"]},
        "stats": {},
        "policy": whole["policy"],
        "inbounds": whole["inbounds"],
        "outbounds": whole["outbounds"],
    }


def digest(chosen: options.Options) -> str:
    """A fingerprint of everything that only a restart can change: all but endpoints and accounts."""
    return _digest([frame(chosen, ()), str(chosen.binary), chosen.splice])


def fingerprint(endpoint: Endpoint) -> str:
    """A fingerprint of how one endpoint is configured, whoever its accounts are."""
    return _digest(inbounds.build(endpoint, {}, _NO_SEED))


def places(endpoints: Mapping[EndpointId, Endpoint]) -> tuple[runfile.Place, ...]:
    """The endpoints as the host keeps them for the next agent."""
    return tuple(
        runfile.Place(
            endpoint=key,
            protocol=endpoint.protocol,
            port=endpoint.port,
            listen=endpoint.listen,
            kind=kinds.kind(endpoint),
            networks=",".join(sorted(checks.networks(endpoint))),
            fingerprint=fingerprint(endpoint),
            way=carriers.of(endpoint).letters,
        )
        for key, endpoint in sorted(endpoints.items())
    )


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
