"""Watches the core and restarts it when it dies or hangs (R5).

What always holds: every failure becomes an incident with its cause in words; the core comes back with the
last good state, whether or not the collector can be asked; a core that hangs is read a last time if it lets
us. A revoked node's core is kept stopped.
"""

import asyncio
import logging
import random
import time

from agent.core import heal
from agent.drivers.base import DriverError
from agent.loops import pace, serving
from agent.loops.node import Node, now_ms
from shared import logs

LOGGER = logging.getLogger(__name__)

#: Seconds between looks at a core that has not said that it ended.
CHECK_S = 1.0


class HealLoop:
    """From a dead core to a living one."""

    def __init__(self, node: Node, *, check_s: float = CHECK_S) -> None:
        self._node = node
        self._check_s = check_s
        self._health = heal.Health()
        self._failed_before = False

    async def once(self) -> float:
        """Wait for a failure at most one interval, and mend it; returns the seconds until the next look."""
        failure = await self._failure()
        if failure is not None:
            await self._mend(failure)
        return 0.0

    async def run(self) -> None:
        """Watch for ever."""
        await pace.forever(self._node, "heal", self.once)

    async def _failure(self) -> heal.Failure | None:
        node = self._node
        if node.holding.revoked:
            await serving.keep_stopped(node)
            await asyncio.sleep(self._check_s)
            return None
        try:
            async with asyncio.timeout(self._check_s):
                return heal.Failure("core_exited", await node.driver.exited())
        except TimeoutError:
            return await self._look()

    async def _look(self) -> heal.Failure | None:
        async with self._node.changing:
            if self._node.holding.revoked:
                return None
            status = await self._node.driver.status()
        self._health, failure = heal.check(self._health, status)
        return failure

    async def _mend(self, failure: heal.Failure) -> None:
        node = self._node
        began_s = time.monotonic()
        async with node.changing:
            if node.holding.revoked or await self._serves():
                return
        if not self._failed_before:
            node.incident(failure.kind, failure.detail)
        chance = random.random()  # noqa: S311 - a timer, not a secret
        await asyncio.sleep(heal.restart_delay_s(self._health, now_ms=now_ms(), chance=chance))
        async with node.changing:
            if node.holding.revoked or await self._serves():
                return
            self._health = heal.restarted(self._health, now_ms=now_ms())
            if not await self._restart(failure):
                return
        await serving.settle(node)
        down_ms = round(1000 * (time.monotonic() - began_s), 1)
        logs.event(LOGGER, logging.WARNING, "core_restarted", cause=failure.detail, down_ms=down_ms)

    async def _serves(self) -> bool:
        # Somebody else may have restarted the core while this loop waited.
        status = await self._node.driver.status()
        return status.running and status.problem is None

    async def _restart(self, failure: heal.Failure) -> bool:
        if failure.hanging:
            await serving.last_reading(self._node)
        try:
            await serving.start(self._node)
        except DriverError as error:
            if not self._failed_before:
                self._node.incident("core_restart_failed", str(error))
            self._failed_before = True
            logs.event(LOGGER, logging.ERROR, "core_restart_failed", reason=str(error))
            return False
        self._failed_before = False
        return True
