"""What each node ought to serve, as items with a body (design: Enforcement).

What always holds: a user who may not be served has no account item; items are compared by their bytes, so the
same decision never makes a new generation.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from collector.domain.endpoints import Endpoint
from collector.domain.users import User
from shared import messages, names
from shared.endpoints import Peer, Rate
from shared.names import EndpointId, NodeId, UserId

#: Protocols whose users have keys of their own.
PEERED = ("xray-wireguard", "wireguard")
Peers = Mapping[tuple[UserId, EndpointId], Peer]
_NOBODY: Peers = MappingProxyType({})


class Place(NamedTuple):
    """Where an item belongs."""

    node: NodeId
    key: str


class Difference(NamedTuple):
    """An item that must change; without a body it must go."""

    place: Place
    body: bytes | None


def accounts(user: User, endpoints: Iterable[Endpoint], peers: Peers = _NOBODY) -> dict[Place, bytes]:
    """Account items of a user on the endpoints he is assigned to: none unless he may be served.

    Where users have keys of their own, he is not served before he has.
    """
    if not user.served:
        return {}
    found: dict[Place, bytes] = {}
    for endpoint in endpoints:
        peer = peers.get((user.id, endpoint.id)) if endpoint.protocol in PEERED else None
        if peer is not None or endpoint.protocol not in PEERED:
            place = Place(endpoint.node, names.account_key(user.id, endpoint.id))
            found[place] = msgspec.json.encode(_account(user, endpoint, peer))
    return found


def endpoint_item(endpoint: Endpoint) -> tuple[Place, bytes]:
    """The item of one endpoint."""
    body = messages.Endpoint(
        endpoint=endpoint.id,
        protocol=endpoint.protocol,
        port=endpoint.port,
        listen=endpoint.listen,
        transport=endpoint.transport,
        security=endpoint.security,
        options=endpoint.options,
        extra=endpoint.extra,
    )
    return Place(endpoint.node, names.endpoint_key(endpoint.id)), msgspec.json.encode(body)


def differences(existing: Mapping[Place, bytes | None], wanted: Mapping[Place, bytes]) -> list[Difference]:
    """What must change so that exactly the wanted items are there."""
    changed = [Difference(place, body) for place, body in wanted.items() if existing.get(place) != body]
    gone = [
        Difference(place, None)
        for place, body in existing.items()
        if body is not None and place not in wanted
    ]
    return changed + gone


def _account(user: User, endpoint: Endpoint, peer: Peer | None) -> messages.Account:
    rate = Rate(up_kbps=user.up_kbps, down_kbps=user.down_kbps)
    return messages.Account(
        user=user.id,
        endpoint=endpoint.id,
        uuid=user.uuid,
        peer=peer,
        rate=None if rate == Rate() else rate,
        terms=user.terms if user.limited else None,
    )
