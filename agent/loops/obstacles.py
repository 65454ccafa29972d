"""Endpoints that something outside the core keeps from being served: a port that another program has.

What always holds: nobody is cut for an endpoint that cannot be served anyway, and it is served soon after its
obstacle is gone. Whoever calls holds `changing`.
"""

import logging

from agent.core import plan
from agent.loops.node import Node
from shared import logs

LOGGER = logging.getLogger(__name__)


async def refuse(node: Node) -> bool:
    """Leave out endpoints that are to be served anew and cannot be; whether there are any."""
    wanted = node.wanted().served.endpoints.values()
    fresh = [one for one in wanted if node.serving.endpoints.get(one.endpoint) != one]
    found = await node.driver.obstacles(fresh)
    for endpoint in fresh:
        if reason := found.get(endpoint.endpoint):
            node.refused[endpoint.endpoint] = plan.RefusedEndpoint(endpoint, reason, obstacle=True)
            logs.event(LOGGER, logging.ERROR, "endpoint_refused", endpoint=endpoint.endpoint, reason=reason)
    return bool(found)


async def lift(node: Node) -> bool:
    """Want those again whose obstacle is gone; whether there are any, and so something to settle."""
    hindered = [refusal.endpoint for refusal in node.refused.values() if refusal.obstacle]
    still = await node.driver.obstacles(hindered) if hindered else {}
    free = [endpoint.endpoint for endpoint in hindered if endpoint.endpoint not in still]
    for endpoint in free:
        del node.refused[endpoint]
    return bool(free)
