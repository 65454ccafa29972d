"""Endpoints of nodes, for admins; and where users can be put, for whoever has users."""

import asyncio
import secrets

import msgspec

from collector import certificates
from collector.app import endpoints
from collector.domain import endpoints as rules
from collector.domain import keys, refusals
from collector.domain.endpoints import EndpointChanges, NewEndpoint, Place
from collector.fronts.rest import endpoint_views, routes
from collector.fronts.rest.endpoint_views import EndpointView
from collector.fronts.rest.parts import Parts
from collector.fronts.rest.routes import Call, Route
from shared.endpoints import Security, Tls
from shared.names import EndpointId, NodeId


class Endpoints(msgspec.Struct, frozen=True):
    """The endpoints of a node."""

    endpoints: list[EndpointView]


class Places(msgspec.Struct, frozen=True):
    """Endpoints that users can be put on."""

    endpoints: list[Place]


async def create(parts: Parts, call: Call[NewEndpoint]) -> EndpointView:
    """Add an endpoint to a node."""
    now_ms = parts.now_ms()
    await _require_pair(call.body.security, now_ms)
    new = rules.filled(call.body, secrets.token_bytes(keys.CHANCE_BYTES))
    return endpoint_views.shown(
        await parts.change(endpoints.create, NodeId(call.id), new, call.actor, now_ms)
    )


async def of_node(parts: Parts, call: Call[None]) -> Endpoints:
    """The endpoints of a node."""
    found = await parts.data.read(endpoints.of_node, NodeId(call.id))
    return Endpoints([endpoint_views.shown(one) for one in found])


async def one(parts: Parts, call: Call[None]) -> EndpointView:
    """One endpoint."""
    return endpoint_views.shown(await parts.data.read(endpoints.one, EndpointId(call.id)))


async def places(parts: Parts, _call: Call[None]) -> Places:
    """Every endpoint that users can be put on."""
    return Places(await parts.data.read(endpoints.places))


async def change(parts: Parts, call: Call[EndpointChanges]) -> EndpointView:
    """Change fields of an endpoint."""
    now_ms, chance = parts.now_ms(), secrets.token_bytes(keys.CHANCE_BYTES)
    await _require_pair(call.body.security, now_ms)
    endpoint, terms = EndpointId(call.id), parts.tunnels.terms
    changed = await parts.change(endpoints.change, endpoint, call.body, chance, call.actor, now_ms, terms)
    return endpoint_views.shown(changed)


async def remove(parts: Parts, call: Call[None]) -> None:
    """Take an endpoint away."""
    await parts.change(endpoints.remove, EndpointId(call.id), call.actor, parts.now_ms())


async def _require_pair(security: Security | msgspec.UnsetType | None, now_ms: int) -> None:
    """Refuse a certificate and a key that do not belong together; where one is missing the rules say so."""
    if not isinstance(security, Tls) or not (security.certificate and security.key):
        return
    # Long RSA keys are checked for a good part of a second.
    wrong = await asyncio.to_thread(certificates.wrong_pair, security.certificate, security.key, now_ms)
    if wrong:
        raise refusals.invalid({f"security.{name}": problem for name, problem in wrong.items()})


ROUTES = (
    Route(
        method="POST",
        path="/api/v1/nodes/{id}/endpoints",
        handler=create,
        roles=routes.ADMINS,
        summary="Add an endpoint to a node; keys that are left out are made.",
        body=NewEndpoint,
        max_bytes=routes.LARGE_BYTES,
        answer=EndpointView,
        status=201,
    ),
    Route(
        method="GET",
        path="/api/v1/nodes/{id}/endpoints",
        handler=of_node,
        roles=routes.ADMINS,
        summary="List a node's endpoints with what clients need, without private keys.",
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
        method="GET",
        path="/api/v1/endpoints/{id}",
        handler=one,
        roles=routes.ADMINS,
        summary="Show an endpoint with what clients need, without private keys.",
        answer=EndpointView,
    ),
    Route(
        method="PATCH",
        path="/api/v1/endpoints/{id}",
        handler=change,
        roles=routes.ADMINS,
        summary="Change an endpoint; a part is replaced as a whole, but keys that are left out stay.",
        body=EndpointChanges,
        max_bytes=routes.LARGE_BYTES,
        answer=EndpointView,
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
