"""Sees that the wall clock of the node was set, by the time since boot, and tells of it.

What always holds: nothing is restarted for it; leases and the fence go by the time since boot, so only the
hours in which bytes count, and VMess, feel it. Each jump is one incident.
"""

import time
from collections.abc import Callable

from agent.core import clock
from agent.loops import pace
from agent.loops.node import Node
from shared.messages import Endpoint

#: Seconds between looks.
CHECK_S = 10.0


def moment() -> clock.Moment:
    """Now, by both clocks."""
    boot_ms = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
    return clock.Moment(wall_ms=time.time_ns() // 1_000_000, boot_ms=boot_ms)


class ClockLoop:
    """From two clocks to an incident."""

    def __init__(
        self, node: Node, *, now: Callable[[], clock.Moment] = moment, check_s: float = CHECK_S
    ) -> None:
        self._node = node
        self._now = now
        self._check_s = check_s
        self._seen = now()

    async def once(self) -> float:
        """One look; returns the seconds until the next."""
        before, self._seen = self._seen, self._now()
        if by_ms := clock.jump_ms(before, self._seen):
            self._node.incident("clock_jump", clock.told(by_ms, vmess=self._vmess()))
        return self._check_s

    async def run(self) -> None:
        """Look for ever."""
        await pace.forever(self._node, "clock", self.once)

    def _vmess(self) -> bool:
        bodies = (item.body for item in self._node.holding.items.values())
        return any(isinstance(body, Endpoint) and body.protocol == "vmess" for body in bodies)
