"""Whether another program listens on the ports of a running core: the kernel would share them out at random.

A core listens with SO_REUSEPORT, so whoever runs under the same user may listen beside it without a word, a
second core above all. What always holds: a port's listeners when it is looked at for the first time are the
core's own, since it was free before the core took it; the kernel names each by a cookie that is never given
out twice. Only TCP is looked at.
"""

from collections.abc import Collection, Iterable, Mapping

import psutil

from agent.drivers.xray import sockets
from shared.names import EndpointId

_COOKIE = slice(40, 48)


class Listeners:
    """The listeners of one core by port."""

    def __init__(self) -> None:
        self._known: dict[int, frozenset[bytes]] = {}

    def strangers(self, ports: Mapping[EndpointId, int]) -> list[EndpointId]:
        """The endpoints on whose port somebody has begun to listen beside the core. Raises OSError."""
        for port in self._known.keys() - set(ports.values()):
            del self._known[port]
        found: list[EndpointId] = []
        for endpoint, port in ports.items():
            there = cookies(port)
            known = self._known.get(port, frozenset())
            if not known & there:
                # The core's own are new, or have closed and opened again.
                self._known[port] = there
            elif there - known:
                found.append(endpoint)
        return found

    def found(self, ports: Mapping[EndpointId, int], pid: int) -> dict[EndpointId, str]:
        """The same in sentences; `pid` is the process that holds the core."""
        there = self.strangers(ports)
        ours = family(pid) if there else frozenset()
        return {endpoint: sentence(endpoint, ports[endpoint], ours) for endpoint in there}


def cookies(port: int) -> frozenset[bytes]:
    """The cookies of all who listen on a TCP port (struct inet_diag_sockid). Raises OSError."""
    return frozenset(found.identity[_COOKIE] for found in sockets.listeners(port))


def sentence(endpoint: EndpointId, port: int, ours: Collection[int]) -> str:
    """What is the matter, in words; `ours` are the processes of the core."""
    return (
        f"endpoint {endpoint}: {_who(port, ours)} listens on port {port} beside the core and gets some of "
        "its connections: end it"
    )


def family(pid: int) -> frozenset[int]:
    """A process and its children; only itself where they cannot be listed."""
    try:
        return frozenset({pid, *(child.pid for child in psutil.Process(pid).children())})
    except psutil.Error:
        return frozenset({pid})


def _who(port: int, ours: Iterable[int]) -> str:
    mine = set(ours)
    try:
        for found in psutil.net_connections("tcp"):
            listens = found.status == psutil.CONN_LISTEN and found.laddr[1:2] == (port,)
            if listens and found.pid and found.pid not in mine:
                return f"{psutil.Process(found.pid).name()} (process {found.pid})"
    except (psutil.Error, OSError):
        pass
    return "another program"
