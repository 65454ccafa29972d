"""Endpoints: ways into a node, checked so that no core can be handed what would stop it (rows T1, R5).

What always holds: an endpoint that is stored has every key it needs, and none of them is in what is told of
it.
"""

import dataclasses
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast, get_args

import msgspec
from msgspec import UNSET, UnsetType, structs

from collector.domain import keys, names, passage, protocols, securities, transports
from collector.domain.passage import Extra
from shared.endpoints import Options, Plain, Protocol, Security, Tcp, Transport, networks
from shared.messages import Body
from shared.names import EndpointId, NodeId

PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)
#: Traffic factor (T2) of an endpoint whose bytes are billed as they are, and the highest that is taken.
UNIT_PERMILLE = 1_000
MAX_FACTOR_PERMILLE = 100_000
_MAX_PORT = 65535
_USE_ADDRESS = "use an IPv4 or IPv6 address of the node, or 0.0.0.0 or :: for all of them"
#: RFC 1122 section 3.2.1.3: no host has an address of it.
_THIS_NETWORK = ipaddress.ip_network("0.0.0.0/8")
#: Fields of parts that are told to nobody.
_SECRET = {"seed", "certificate", "key", "private_key", "short_ids", "decryption"}
_TCP, _PLAIN = Tcp(), Plain()


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One way into a node. `host` is what clients connect to, where that is known."""

    id: EndpointId
    node: NodeId
    name: str
    protocol: Protocol
    listen: str
    port: int
    factor_permille: int = UNIT_PERMILLE
    host: str | None = None
    transport: Transport = _TCP
    security: Security = _PLAIN
    options: Options | None = None
    extra: Extra | None = None


@dataclass(frozen=True, kw_only=True)
class Place:
    """An endpoint as those see it who put users on it: nothing of the node but what it is called."""

    id: EndpointId
    name: str
    protocol: str
    factor_permille: int
    node: str
    region: str


class NewEndpoint(Body, frozen=True):
    """An endpoint to create on a node; keys that are left out are made."""

    name: str
    protocol: str
    port: int
    listen: str = "0.0.0.0"  # noqa: S104 - an endpoint is there to be reached
    factor_permille: int = UNIT_PERMILLE
    host: str | None = None
    transport: Transport | None = None
    security: Security | None = None
    options: Options | None = None
    extra: Extra | None = None


class EndpointChanges(Body, frozen=True):
    """Fields of an endpoint to change; absent ones stay.

    A part is replaced as a whole, but for keys that it leaves out: those of TLS and REALITY, of Shadowsocks
    and WireGuard and VLESS's decryption stay. Without options there is no VLESS encryption.
    """

    name: str | UnsetType = UNSET
    port: int | UnsetType = UNSET
    listen: str | UnsetType = UNSET
    factor_permille: int | UnsetType = UNSET
    host: str | UnsetType | None = UNSET
    transport: Transport | UnsetType = UNSET
    security: Security | UnsetType = UNSET
    options: Options | UnsetType | None = UNSET
    extra: Extra | UnsetType | None = UNSET


def filled(new: NewEndpoint, chance: bytes) -> NewEndpoint:
    """The new endpoint with the keys made that it does not give, of CHANCE_BYTES random ones."""
    return structs.replace(
        new,
        security=None if new.security is None else keys.filled_security(new.security, chance),
        options=keys.filled_options(new.options, chance),
    )


def fresh(node: NodeId, new: NewEndpoint) -> Endpoint:
    """An endpoint as it is made; its id is given by the store."""
    return Endpoint(
        id=EndpointId(0),
        node=node,
        name=new.name,
        protocol=cast("Protocol", new.protocol),
        listen=new.listen,
        port=new.port,
        factor_permille=new.factor_permille,
        host=new.host,
        transport=new.transport or _TCP,
        security=new.security or _PLAIN,
        options=new.options,
        extra=new.extra or None,
    )


def changed(endpoint: Endpoint, changes: EndpointChanges, chance: bytes) -> Endpoint:
    """The endpoint after an admin's changes; keys that neither they nor it have are made."""
    asked = {name: getattr(changes, name) for name in changes.__struct_fields__}
    after = dataclasses.replace(
        endpoint, **{name: value for name, value in asked.items() if value is not UNSET}
    )
    security = keys.kept_security(endpoint.security, after.security)
    options = keys.kept_options(endpoint.options, after.options)
    return dataclasses.replace(
        after,
        security=keys.filled_security(security, chance),
        options=keys.filled_options(options, chance),
        extra=passage.kept(endpoint.extra, after.extra) or None,
    )


def wrong(new: NewEndpoint) -> dict[str, str]:
    """What is wrong with a new endpoint, by field."""
    endpoint = fresh(NodeId(0), new)
    if new.protocol not in PROTOCOLS:
        return _wrong_place(endpoint) | {"protocol": f"use one of: {', '.join(PROTOCOLS)}"}
    return _wrong(endpoint) | _wrong_said(endpoint.protocol, new.transport)


def wrong_changes(after: Endpoint, changes: EndpointChanges) -> dict[str, str]:
    """What is wrong with an endpoint after changes, by field."""
    transport = None if changes.transport is UNSET else changes.transport
    return _wrong(after) | _wrong_said(after.protocol, transport)


def clashing(endpoint: Endpoint, existing: Iterable[Endpoint]) -> Endpoint | None:
    """The other endpoint of the same node that holds the port already, on the same network.

    Two listeners on one port start without an error in Xray (SO_REUSEPORT) and share connections at random.
    """
    mine = networks(endpoint.protocol, endpoint.transport, endpoint.security)
    return next(
        (
            one
            for one in existing
            if one.id != endpoint.id
            and one.port == endpoint.port
            and mine & networks(one.protocol, one.transport, one.security)
        ),
        None,
    )


def overlapping(endpoint: Endpoint, existing: Iterable[Endpoint]) -> Endpoint | None:
    """The other endpoint of the same node whose WireGuard networks share an address with this one's."""
    mine = protocols.networks_of(endpoint.options)
    others = (one for one in existing if one.id != endpoint.id)
    return next(
        (one for one in others if protocols.overlapping(mine, protocols.networks_of(one.options))), None
    )


def dearer(before: Iterable[Endpoint], after: Iterable[Endpoint]) -> frozenset[NodeId]:
    """The nodes where a user's bytes may be billed with a higher factor after he was placed anew."""
    highest: dict[NodeId, int] = {}
    for one in before:
        highest[one.node] = max(one.factor_permille, highest.get(one.node, 0))
    return frozenset(one.node for one in after if one.factor_permille > highest.get(one.node, 0))


def facts(endpoint: Endpoint) -> dict[str, Any]:
    """What is to be told of an endpoint, by field: no secret."""
    return {
        "name": endpoint.name,
        "node": endpoint.node,
        "protocol": endpoint.protocol,
        "listen": endpoint.listen,
        "port": endpoint.port,
        "factor_permille": endpoint.factor_permille,
        "host": endpoint.host,
        "transport": _told(endpoint.transport),
        "security": _told(endpoint.security),
        "options": _told(endpoint.options),
    }


def unsaid(endpoint: Endpoint) -> dict[str, object]:
    """What is told of an endpoint only as having changed, by field."""
    parts = {"transport": endpoint.transport, "security": endpoint.security, "options": endpoint.options}
    secrets = {
        f"{part}.{name}": value
        for part, one in parts.items()
        for name, value in (msgspec.to_builtins(one) or {}).items()
        if name in _SECRET
    }
    return {**secrets, "extra": endpoint.extra}


def _wrong(endpoint: Endpoint) -> dict[str, str]:
    protocol, transport, security = endpoint.protocol, endpoint.transport, endpoint.security
    raw = protocol == "wireguard" and endpoint.extra is not None
    return {
        **_wrong_place(endpoint),
        **transports.wrong(protocol, transport),
        **securities.wrong(protocol, transport, security),
        **protocols.wrong(protocol, transport, security, endpoint.options),
        **({"extra": "leave it out: no Xray serves this"} if raw else passage.wrong(endpoint.extra)),
    }


def _wrong_said(protocol: Protocol, transport: Transport | None) -> dict[str, str]:
    """A transport that is said where none can be, though it is the one that is there unsaid."""
    if transport is None or protocol not in transports.ALONE:
        return {}
    return {"transport": f"leave it out: {protocol} has a transport of its own"}


def _wrong_place(endpoint: Endpoint) -> dict[str, str]:
    return names.collect(
        name=names.wrong_name(endpoint.name),
        port=_wrong_port(endpoint.port),
        listen=_wrong_address(endpoint.listen),
        factor_permille=_wrong_factor(endpoint.factor_permille),
        host=None if endpoint.host is None else names.wrong_host(endpoint.host),
    )


def _told(part: Transport | Security | Options | None) -> dict[str, Any] | None:
    built: dict[str, Any] | None = msgspec.to_builtins(part)
    return built and {name: value for name, value in built.items() if name not in _SECRET}


def _wrong_port(port: int) -> str | None:
    return None if 1 <= port <= _MAX_PORT else f"use a port from 1 to {_MAX_PORT}"


def _wrong_factor(factor_permille: int) -> str | None:
    if 0 <= factor_permille <= MAX_FACTOR_PERMILLE:
        return None
    return f"use 0 (free) to {MAX_FACTOR_PERMILLE}; 1000 bills bytes as they are"


def _wrong_address(listen: str) -> str | None:
    try:
        address = ipaddress.ip_address(listen)
    except ValueError:
        return _USE_ADDRESS
    if isinstance(address, ipaddress.IPv4Address):
        odd = address.is_reserved or (address in _THIS_NETWORK and not address.is_unspecified)
    else:
        # A zone may hold any character at all, and means nothing to a core.
        odd = address.scope_id is not None or address.ipv4_mapped is not None
    return _USE_ADDRESS if odd or address.is_multicast else None
