"""Endpoints: ways into a node, checked so that no core can be handed what would stop it (rows T1, R5)."""

import ipaddress
from dataclasses import dataclass
from typing import Literal

from collector.domain import names
from shared.messages import Body
from shared.names import EndpointId, NodeId

PROTOCOLS = ("vless",)
#: Traffic factor (T2) of an endpoint whose bytes are billed as they are, and the highest that is taken.
UNIT_PERMILLE = 1_000
MAX_FACTOR_PERMILLE = 100_000
_MAX_PORT = 65535
_USE_ADDRESS = "use an IPv4 or IPv6 address of the node, or 0.0.0.0 or :: for all of them"
#: RFC 1122 section 3.2.1.3: no host has an address of it.
_THIS_NETWORK = ipaddress.ip_network("0.0.0.0/8")


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One way into a node."""

    id: EndpointId
    node: NodeId
    name: str
    protocol: Literal["vless"]
    listen: str
    port: int
    factor_permille: int = UNIT_PERMILLE


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
    """An endpoint to create on a node."""

    name: str
    protocol: str
    port: int
    listen: str = "0.0.0.0"  # noqa: S104 - an endpoint is there to be reached
    factor_permille: int = UNIT_PERMILLE


def wrong(new: NewEndpoint) -> dict[str, str]:
    """What is wrong with a new endpoint, by field."""
    return names.collect(
        name=names.wrong_name(new.name),
        protocol=_wrong_protocol(new.protocol),
        port=_wrong_port(new.port),
        listen=_wrong_address(new.listen),
        factor_permille=_wrong_factor(new.factor_permille),
    )


def clashing(new: NewEndpoint, existing: list[Endpoint]) -> Endpoint | None:
    """The endpoint of the same node that holds the port already.

    Two listeners on one port start without an error in Xray (SO_REUSEPORT) and share connections at random.
    """
    return next((one for one in existing if one.port == new.port), None)


def _wrong_protocol(protocol: str) -> str | None:
    return None if protocol in PROTOCOLS else f"use one of: {', '.join(PROTOCOLS)}"


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
