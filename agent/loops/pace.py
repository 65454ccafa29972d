"""The timer of every loop: how long to wait after success, after failure, and when the node is revoked.

What always holds: an expected failure never ends a loop; it is logged when it begins and when it is over, and
the waits in between grow, with jitter. Anything unexpected ends the agent: its supervisor starts it anew, and
the core goes on meanwhile.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable
from typing import NoReturn

from agent.core import backoff
from agent.drivers.base import DriverError
from agent.ledger import LedgerError
from agent.link import LinkProblem, RevokedError
from agent.loops import serving
from agent.loops.node import Node
from shared import logs

LOGGER = logging.getLogger(__name__)

#: Seconds between attempts of a revoked node; it may have been enrolled again meanwhile.
REVOKED_RETRY_S = 60.0
_BASE_S = 0.5
_CAP_S = 10.0


async def forever(node: Node, name: str, once: Callable[[], Awaitable[float]]) -> NoReturn:
    """Call `once` for ever; it returns the seconds to wait before the next time."""
    failures = 0
    while True:
        try:
            pause_s = await once()
        except RevokedError as error:
            _failed(name, failures, error)
            failures += 1
            await serving.halt(node)
            pause_s = backoff.spread_s(REVOKED_RETRY_S, chance=random.random())  # noqa: S311 - a timer
        except (LinkProblem, LedgerError, DriverError) as error:
            _failed(name, failures, error)
            pause_s = backoff.delay_s(failures, base_s=_BASE_S, cap_s=_CAP_S, chance=random.random())  # noqa: S311
            failures += 1
            pause_s = await _returned(node, error, pause_s)
        else:
            if failures:
                logs.event(LOGGER, logging.INFO, "loop_recovered", loop=name, failures=failures)
            failures = 0
        await asyncio.sleep(pause_s)


async def _returned(node: Node, error: Exception, longest_s: float) -> float:
    """Wait until the collector answers another loop again, at most so long; returns what is left to wait.

    The first of the loops to get through tells the others, so an outage ends for all of them at once.
    """
    if not isinstance(error, LinkProblem):
        return longest_s
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(longest_s):
            await node.link.back()
    return 0.0


async def nudged(event: asyncio.Event, longest_s: float) -> None:
    """Wait for an event at most so long, and clear it."""
    try:
        async with asyncio.timeout(longest_s):
            await event.wait()
    except TimeoutError:
        return
    event.clear()


def jittered(period_s: float) -> float:
    """A period, ten per cent shorter or longer."""
    return backoff.spread_s(period_s, chance=random.random())  # noqa: S311 - a timer, not a secret


def _failed(name: str, failures: int, error: Exception) -> None:
    level = logging.WARNING if failures == 0 else logging.DEBUG
    logs.event(LOGGER, level, "loop_failed", loop=name, failures=failures + 1, reason=str(error))
