"""Nodes, for admins."""

import msgspec

from collector.app import nodes
from collector.domain.access import Actor, Role
from collector.domain.nodes import NewNode, NodeChanges, NodeView
from collector.fronts.rest import routes
from collector.fronts.rest.parts import Parts
from collector.fronts.rest.routes import Call, Route
from shared.names import NodeId


class Nodes(msgspec.Struct, frozen=True):
    """All nodes."""

    nodes: list[NodeView]


async def create(parts: Parts, call: Call[NewNode]) -> NodeView:
    """Make a node."""
    zone = parts.zone if call.body.zone is None else call.body.zone
    new = msgspec.structs.replace(call.body, zone=zone)
    node = await parts.change(nodes.create, new, call.actor, parts.now_ms())
    return await _shown(parts, node.id)


async def every(parts: Parts, _call: Call[None]) -> Nodes:
    """All nodes with what their agents last said."""
    return Nodes(await parts.data.read(nodes.every))


async def one(parts: Parts, call: Call[None]) -> NodeView:
    """One node."""
    return await _shown(parts, NodeId(call.id))


async def change(parts: Parts, call: Call[NodeChanges]) -> NodeView:
    """Change fields of a node."""
    await parts.change(nodes.change, NodeId(call.id), call.body, call.actor, parts.now_ms())
    return await _shown(parts, NodeId(call.id))


async def revoke(parts: Parts, call: Call[None]) -> NodeView:
    """Void a node's credential; its waiting poll ends at once."""
    node = NodeId(call.id)
    await parts.change(nodes.revoke, node, call.actor, parts.now_ms())
    parts.callers.forget(Actor(Role.NODE, node))
    return await _shown(parts, node)


async def _shown(parts: Parts, node: NodeId) -> NodeView:
    return await parts.data.read(nodes.one, node, parts.now_ms())


ROUTES = (
    Route(
        method="POST",
        path="/api/v1/nodes",
        handler=create,
        roles=routes.ADMINS,
        summary="Create a node.",
        body=NewNode,
        answer=NodeView,
        status=201,
    ),
    Route(
        method="GET",
        path="/api/v1/nodes",
        handler=every,
        roles=routes.ADMINS,
        summary="List the nodes.",
        answer=Nodes,
    ),
    Route(
        method="GET",
        path="/api/v1/nodes/{id}",
        handler=one,
        roles=routes.ADMINS,
        summary="Show a node.",
        answer=NodeView,
    ),
    Route(
        method="PATCH",
        path="/api/v1/nodes/{id}",
        handler=change,
        roles=routes.ADMINS,
        summary="Change a node's name, region, line rate or periods.",
        body=NodeChanges,
        answer=NodeView,
    ),
    Route(
        method="POST",
        path="/api/v1/nodes/{id}/revoke",
        handler=revoke,
        roles=routes.ADMINS,
        summary="Void a node's credential; it can be enrolled again.",
        answer=NodeView,
    ),
)
