"""Sees that another program listens on a port of an endpoint while the core runs, and tells of it.

What always holds: nothing is restarted for it, since the core could not have the port at its next start: it
serves on, and an operator is told until the other program is gone. Each intruder is one incident.
"""

from agent.drivers.base import DriverError
from agent.loops import pace
from agent.loops.node import Core, Node
from shared.names import EndpointId

#: Seconds between looks.
CHECK_S = 5.0


class IntrudersLoop:
    """From the listeners of this machine to problems and incidents."""

    def __init__(self, node: Node, core: Core, *, check_s: float = CHECK_S) -> None:
        self._node = node
        self._core = core
        self._check_s = check_s
        self._told: dict[EndpointId, str] = {}

    async def once(self) -> float:
        """One look at all ports; returns the seconds until the next."""
        try:
            found = dict(await self._core.driver.intruders())
        except DriverError:
            return self._check_s  # a core that is down has no ports to share
        for endpoint in self._told.keys() - found.keys():
            self._node.well(_topic(endpoint))
        for endpoint, sentence in found.items():
            self._node.trouble(_topic(endpoint), sentence)
            if endpoint not in self._told:
                self._node.incident("port_shared", sentence)
        self._told = found
        return self._check_s

    async def run(self) -> None:
        """Look for ever."""
        await pace.forever(self._node, f"intruders {self._core.name}", self.once)


def _topic(endpoint: EndpointId) -> str:
    return f"port/{endpoint}"
