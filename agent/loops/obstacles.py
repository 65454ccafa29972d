"""Endpoints that cannot be served: the core would refuse them, or another program has their port.

What always holds: nobody is cut for an endpoint that cannot be served anyway, and one that something outside
the core was in the way of is served soon after that is gone. Whoever calls holds `changing`.
"""

import logging

from agent.core import plan
from agent.drivers.base import DriverError
from agent.loops.node import Core, Node
from shared import logs
from shared.messages import Endpoint
from shared.names import EndpointId

LOGGER = logging.getLogger(__name__)


async def refuse(node: Node, core: Core, *, starting: bool = False) -> bool:
    """Leave out endpoints that are to be served anew and cannot be; whether there are any.

    The start of a core says by itself what it does not take.
    """
    wanted = node.wanted_of(core).endpoints.values()
    fresh = [one for one in wanted if core.serving.endpoints.get(one.endpoint) != one]
    hindered = await core.driver.obstacles(fresh)
    for endpoint in fresh:
        if reason := hindered.get(endpoint.endpoint):
            note(node, endpoint, reason, obstacle=True)
        elif not starting:
            await _check(node, core, endpoint)
    return any(one.endpoint in node.refused for one in fresh)


def note(node: Node, endpoint: Endpoint, reason: str, *, obstacle: bool = False) -> None:
    """Know why an endpoint is not served."""
    node.refused[endpoint.endpoint] = plan.RefusedEndpoint(endpoint, reason, obstacle=obstacle)
    logs.event(LOGGER, logging.ERROR, "endpoint_refused", endpoint=endpoint.endpoint, reason=reason)


async def lift(node: Node) -> bool:
    """Want those again whose obstacle is gone; whether there are any, and so something to settle."""
    free: list[EndpointId] = []
    for core in node.cores:
        mine = [one.endpoint for one in node.refused.values() if one.obstacle and _of(core, one.endpoint)]
        still = await core.driver.obstacles(mine) if mine else {}
        free += [endpoint.endpoint for endpoint in mine if endpoint.endpoint not in still]
    for endpoint in free:
        del node.refused[endpoint]
    return bool(free)


async def _check(node: Node, core: Core, endpoint: Endpoint) -> None:
    try:
        await core.driver.check(endpoint)
    except DriverError as error:
        note(node, endpoint, str(error))


def _of(core: Core, endpoint: Endpoint) -> bool:
    return endpoint.protocol in core.driver.protocols
