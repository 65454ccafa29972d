"""Reads the cores' counters and books them, several times a second.

What always holds: a failed reading or booking loses nothing, since the core keeps its counters, and the next
one is not put off for it; a user who is not served but still counts is cut again, whoever served him.
"""

import logging

from agent.core import marks
from agent.core.counting import Meter
from agent.drivers.base import CoreDownError, DriverError
from agent.ledger import LedgerError
from agent.loops import pace, penalties, serving
from agent.loops.node import Core, Node
from shared import logs

LOGGER = logging.getLogger(__name__)


class MeterLoop:
    """From the counters to the ledger."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def once(self) -> float:
        """One reading; returns the seconds until the next, at most those to the next quarter of an hour."""
        await self._read()
        return marks.pause_s(self._node.clock(), self._node.pace.poll_s)

    async def _read(self) -> None:
        node = self._node
        strays = {core.name: await self._booked(core) for core in node.cores}
        await self._enforce()
        for core in node.cores:
            await self._cut_strays(core, strays[core.name])

    async def _booked(self, core: Core) -> list[Meter]:
        """Read a core and book what it counted; those who count and are not served."""
        node, topic = self._node, f"reading {core.name}"
        try:
            grown = await node.book(core)
        except CoreDownError:
            # The healing loop sees the same and acts; here there is nothing to count.
            return []
        except DriverError as error:
            node.trouble(topic, str(error))
            return []
        except LedgerError as error:
            node.trouble("ledger", str(error))
            return []
        node.well(topic)
        if grown:
            node.well("ledger")
        return [meter for meter in grown if meter not in core.serving.accounts]

    async def _enforce(self) -> None:
        node = self._node
        if spent := tuple(node.spent):
            await serving.expel(node, spent)
            for user in spent:
                node.spent.pop(user, None)
        if node.loans.fence():
            logs.event(LOGGER, logging.INFO, "fence", down=node.loans.fenced)
            await serving.settle(node)
        if penalties.lapse(node):
            await serving.settle(node)

    async def run(self) -> None:
        """Read for ever."""
        await pace.forever(self._node, "meter", self.once)

    async def _cut_strays(self, core: Core, strays: list[Meter]) -> None:
        node = self._node
        # While somebody changes the core, `serving` lags behind it: judge at the next reading.
        if not strays or node.changing.locked() or not core.certain:
            return
        try:
            async with node.changing:
                cut = await core.driver.cut(strays)
        except DriverError as error:
            # They count on, so the next reading comes back to them.
            node.trouble("strays", str(error))
            return
        node.well("strays")
        if cut.ended:
            logs.event(
                LOGGER, logging.WARNING, "stray_cut", meters=len(strays), ended=cut.ended, left=cut.left
            )
