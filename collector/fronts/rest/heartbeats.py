"""Heartbeats of nodes."""

from collector.app import heartbeats
from collector.fronts.rest import routes
from collector.fronts.rest.parts import Parts
from collector.fronts.rest.routes import Call, Route
from shared.messages import Heartbeat, HeartbeatAnswer


async def record(parts: Parts, call: Call[Heartbeat]) -> HeartbeatAnswer:
    """Note how a node is."""
    return await parts.change(heartbeats.record, call.node, call.body, parts.now_ms())


ROUTES = (
    Route(
        method="POST",
        path="/api/v1/nodes/heartbeat",
        handler=record,
        roles=routes.NODES,
        summary="Tell how the node is and what went wrong on it.",
        body=Heartbeat,
        max_bytes=256 * 1024,
        answer=HeartbeatAnswer,
    ),
)
