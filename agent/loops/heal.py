"""Watches a core and restarts it when it dies or hangs (R5).

What always holds: every failure becomes an incident with its cause in words; the core comes back with the
last good state, whether or not the collector can be asked; a core that hangs is read a last time if it lets
us, and what the ledger cannot keep of that puts its restart off. A core that uses up its budget of restarts
is restarted more rarely, which is an incident and a problem until it holds. A revoked node's core is kept
stopped.
"""

import asyncio
import logging
import random
import time

from agent.core import heal
from agent.drivers.base import DriverError
from agent.loops import cores, pace, serving
from agent.loops.node import Core, Node
from shared import logs

LOGGER = logging.getLogger(__name__)

#: Seconds between looks at a core that has not said that it ended.
CHECK_S = 1.0
#: How long a core that hangs may take to be cut and read.
_LAST_READING_S = 2.0


class HealLoop:
    """From a dead core to a living one."""

    def __init__(self, node: Node, core: Core, *, check_s: float = CHECK_S) -> None:
        self._node = node
        self._core = core
        self._check_s = check_s
        self._health = heal.Health()
        self._failed_before = False
        self._look_due_s = time.monotonic() + check_s

    async def once(self) -> float:
        """Wait for a failure at most one interval, and mend it; returns the seconds until the next look."""
        node = self._node
        if node.holding.revoked:
            await serving.keep_stopped(node, self._core)
            await asyncio.sleep(self._check_s)
            return 0.0
        exited = await self._exited()
        self._account()
        began_s = time.monotonic()
        mended = await self._mend(exited)
        # A core that was cut and not restarted looks well: it must not stay like that.
        if mended or self._core.stale:
            await serving.settle(node)
        if mended:
            down_ms = round(1000 * (time.monotonic() - began_s), 1)
            logs.event(
                LOGGER,
                logging.WARNING,
                "core_restarted",
                core=self._core.name,
                cause=mended.detail,
                down_ms=down_ms,
            )
        return 0.0

    async def run(self) -> None:
        """Watch for ever."""
        await pace.forever(self._node, f"heal {self._core.name}", self.once)

    async def _exited(self) -> str | None:
        """The cause when the core says that it ended; None when the time for the next look has come."""
        wait_s = self._look_due_s - time.monotonic()
        if wait_s <= 0:
            return None  # the last look waited for an answer that long
        try:
            async with asyncio.timeout(wait_s):
                return await self._core.driver.exited()
        except TimeoutError:
            return None

    async def _mend(self, exited: str | None) -> heal.Failure | None:
        """Look at the core and restart it where that is needed; the failure that was mended."""
        async with self._node.changing:
            failure = await self._look(exited)
            if failure is None:
                return None
            if not self._failed_before:
                self._node.incident(failure.kind, failure.detail)
            chance = random.random()  # noqa: S311 - a timer, not a secret
            delay_s = heal.restart_delay_s(self._health, now_ms=_steady_ms(), chance=chance)
            if not delay_s:
                return failure if await self._restart(failure) else None
        await asyncio.sleep(delay_s)
        async with self._node.changing:
            # Somebody else may have restarted the core while this loop waited.
            status = await self._core.driver.status()
            if self._node.holding.revoked or (status.running and status.problem is None):
                return None
            return failure if await self._restart(failure) else None

    async def _look(self, exited: str | None) -> heal.Failure | None:
        if self._node.holding.revoked:
            return None
        self._look_due_s = time.monotonic() + self._check_s
        status = await self._core.driver.status()
        if exited is not None and not status.running:
            return heal.Failure("core_exited", exited)
        self._health, failure = heal.check(self._health, status)
        return failure

    def _account(self) -> None:
        """Tell when the budget of restarts is used up, and when it has room again."""
        topic, spent = f"restarts {self._core.name}", heal.spent(self._health, now_ms=_steady_ms())
        if spent is None:
            self._node.well(topic)
            return
        if topic not in self._node.problems:
            self._node.incident("core_unsteady", spent)
        self._node.trouble(topic, spent)

    async def _restart(self, failure: heal.Failure) -> bool:
        self._health = heal.restarted(self._health, now_ms=_steady_ms())
        # What a core lets us read and the ledger cannot keep would end with it: it stays until it can.
        if failure.hanging and not await cores.last_reading(
            self._node, self._core, patience_s=_LAST_READING_S
        ):
            self._core.stale = True
            return False
        try:
            await cores.start(self._node, self._core)
        except DriverError as error:
            if not self._failed_before:
                self._node.incident("core_restart_failed", str(error))
            self._failed_before = True
            logs.event(LOGGER, logging.ERROR, "core_restart_failed", reason=str(error))
            return False
        self._failed_before = False
        return True


def _steady_ms() -> int:
    """Milliseconds since boot: a clock that nobody sets."""
    return time.monotonic_ns() // 1_000_000
