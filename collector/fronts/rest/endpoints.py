"""Endpoints of nodes, for admins; and where users can be put, for whoever has users."""

import msgspec

from collector.app import endpoints
from collector.domain.endpoints import Endpoint, NewEndpoint, Place
from collector.fronts.rest import routes
from collector.fronts.rest.parts import Parts
from collector.fronts.rest.routes import Call, Route
from shared.names import EndpointId, NodeId


class Endpoints(msgspec.Struct, frozen=True):
    """The endpoints of a node."""

    endpoints: list[Endpoint]


class Places(msgspec.Struct, frozen=True):
    """Endpoints that users can be put on."""

    endpoints: list[Place]


async def create(parts: Parts, call: Call[NewEndpoint]) -> Endpoint:
    """Add an endpoint to a node."""
    return await parts.change(endpoints.create, NodeId(call.id), call.body, call.actor, parts.now_ms())


async def of_node(parts: Parts, call: Call[None]) -> Endpoints:
    """The endpoints of a node."""
    return Endpoints(await parts.data.read(endpoints.of_node, NodeId(call.id)))


async def places(parts: Parts, _call: Call[None]) -> Places:
    """Every endpoint that users can be put on."""
    return Places(await parts.data.read(endpoints.places))


async def remove(parts: Parts, call: Call[None]) -> None:
    """Take an endpoint away."""
    await parts.change(endpoints.remove, EndpointId(call.id), call.actor, parts.now_ms())


ROUTES = (
    Route(
        method="POST",
        path="/api/v1/nodes/{id}/endpoints",
        handler=create,
        roles=routes.ADMINS,
        summary="Add an endpoint to a node.",
        body=NewEndpoint,
        answer=Endpoint,
        status=201,
    ),
    Route(
        method="GET",
        path="/api/v1/nodes/{id}/endpoints",
        handler=of_node,
        roles=routes.ADMINS,
        summary="List a node's endpoints.",
        answer=Endpoints,
    ),
    Route(
        method="GET",
        path="/api/v1/endpoints",
        handler=places,
        roles=routes.RESELLERS,
        summary="List the endpoints that users can be put on.",
        answer=Places,
    ),
    Route(
        method="DELETE",
        path="/api/v1/endpoints/{id}",
        handler=remove,
        roles=routes.ADMINS,
        summary="Remove an endpoint and its accounts.",
        status=204,
    ),
)
