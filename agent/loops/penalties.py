"""Penalties: whom the collector penalises is cut here at once and served again when it is over (row H7).

What always holds: penalties are in memory only; an agent that restarts knows of none until its first poll,
which names no list and so is answered with the present one.
"""

import logging
import time

from agent.core import penalties
from agent.loops import serving
from agent.loops.node import Node
from shared import logs
from shared.messages import DesiredState

LOGGER = logging.getLogger(__name__)


def note(node: Node, state: DesiredState) -> bool:
    """Go by the list that came with a state; whether it is another one than before."""
    before = node.penalised
    node.penalised = penalties.noted(state.penalised, time.monotonic())
    node.penalty_mark = state.penalty_mark
    if node.penalised.keys() == before.keys():
        return False
    logs.event(LOGGER, logging.INFO, "penalties", users=len(node.penalised))
    return True


async def enforce(node: Node) -> None:
    """Cut who has a penalty, then serve again who has none any more. Raises DriverError."""
    await serving.expel(node, node.penalised.keys())
    await serving.settle(node)


def lapse(node: Node) -> bool:
    """Forget the penalties that are over; whether there were any, and so somebody to serve again."""
    left = penalties.left(node.penalised, time.monotonic())
    if left is node.penalised:
        return False
    node.penalised = left
    logs.event(LOGGER, logging.INFO, "penalties", users=len(left))
    return True
