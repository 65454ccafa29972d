"""Desired state, for nodes: asked for by long poll and acknowledged by item.

Penalties are no desired state: a poll brings all of them, and that they changed since the last one is news.

What always holds: a poll that waits ends when there is news, when its time is over, when its client has gone,
when the node is revoked (401) and when the collector stops.
"""

import time

from collector.app import configs
from collector.domain import access
from collector.fronts.rest import routes
from collector.fronts.rest.parts import Parts
from collector.fronts.rest.routes import Call, Query, Route
from collector.hub import Ear
from shared.messages import DesiredState, SyncReport
from shared.names import MAX_POLL_WAIT_S, NodeId

#: How long a poll may wait on for a client that has gone.
_GONE_S = 10.0
_MAX_SYNC_BYTES = 2 * 1024 * 1024

SINCE = Query(
    name="since", default=0, low=0, high=10**18 - 1, summary="Generation that the node has; 0 for all."
)
MARK = Query(
    name="penalty_mark", default=0, low=0, high=10**18 - 1, summary="Mark of the penalties that the node has."
)
WAIT = Query(name="wait", default=0, low=0, high=MAX_POLL_WAIT_S, summary="Seconds to wait for news.")


async def poll(parts: Parts, call: Call[None]) -> DesiredState:
    """What changed since a generation, as soon as there is something."""
    node = NodeId(call.id)
    access.require_own_node(call.actor, node)
    ends_s = time.monotonic() + call.query["wait"]
    with parts.hub.listening(node) as ear:
        woken = False
        while True:
            state = await parts.data.read(configs.difference, node, call.query["since"])
            state = await parts.sessions.penalised(node, state)
            if _is_news(call, state, woken=woken) or not await _woken(ear, call, ends_s):
                return state
            woken = True
            await parts.callers.confirm(call.caller)


async def acknowledge(parts: Parts, call: Call[SyncReport]) -> None:
    """Note what became of items."""
    node = NodeId(call.id)
    access.require_own_node(call.actor, node)
    await parts.change(configs.acknowledge, node, call.body, parts.now_ms())


def _is_news(call: Call[None], state: DesiredState, *, woken: bool) -> bool:
    changed = state.generation != call.query["since"] or state.penalty_mark != call.query["penalty_mark"]
    # A recall is news once: a node that has nothing to give must not be answered in a circle.
    return changed or (woken and bool(state.recalled))


async def _woken(ear: Ear, call: Call[None], ends_s: float) -> bool:
    while (left_s := ends_s - time.monotonic()) > 0 and not ear.closed:
        if await ear.wait(min(left_s, _GONE_S)):
            return True
        if await call.hung_up():
            return False
    return False


ROUTES = (
    Route(
        method="GET",
        path="/api/v1/nodes/{id}/configs",
        handler=poll,
        roles=routes.NODES,
        summary="Get what changed in the node's desired state, waiting for news if asked to.",
        query=(SINCE, WAIT, MARK),
        answer=DesiredState,
    ),
    Route(
        method="POST",
        path="/api/v1/nodes/{id}/configs/sync",
        handler=acknowledge,
        roles=routes.NODES,
        summary="Tell what became of each item.",
        body=SyncReport,
        max_bytes=_MAX_SYNC_BYTES,
        status=204,
    ),
)
