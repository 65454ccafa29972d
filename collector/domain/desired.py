"""What each node ought to serve, as items with a body (design: Enforcement).

What always holds: a user who may not be served has no account item; items are compared by their bytes, so the
same decision never makes a new generation.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from collector.domain.endpoints import Endpoint
from collector.domain.users import User
from shared import messages, names
from shared.names import NodeId


class Place(NamedTuple):
    """Where an item belongs."""

    node: NodeId
    key: str


class Difference(NamedTuple):
    """An item that must change; without a body it must go."""

    place: Place
    body: bytes | None


def accounts(user: User, endpoints: Iterable[Endpoint]) -> dict[Place, bytes]:
    """Account items of a user on the endpoints he is assigned to: none unless he may be served."""
    if not user.served:
        return {}
    return {
        Place(endpoint.node, names.account_key(user.id, endpoint.id)): msgspec.json.encode(
            messages.Account(
                user=user.id, endpoint=endpoint.id, uuid=user.uuid, terms=user.terms if user.limited else None
            )
        )
        for endpoint in endpoints
    }


def endpoint_item(endpoint: Endpoint) -> tuple[Place, bytes]:
    """The item of one endpoint."""
    body = messages.Endpoint(
        endpoint=endpoint.id, protocol=endpoint.protocol, port=endpoint.port, listen=endpoint.listen
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
