"""Whether Xray's ports are free, asked before it starts.

Xray listens with SO_REUSEPORT, so it would share a port with another program without a word and the kernel
would deal connections to both at random. What always holds: a port is asked for without SO_REUSEPORT and
given back at once.
"""

import errno
import socket
from collections.abc import Iterable

import psutil

from shared.messages import Endpoint


def taken(endpoints: Iterable[Endpoint]) -> list[str]:
    """A sentence for each endpoint whose address cannot be had."""
    return [sentence for endpoint in endpoints if (sentence := problem(endpoint))]


def problem(endpoint: Endpoint) -> str | None:
    """Why its address cannot be had, in a sentence; None when it can."""
    try:
        _bind(endpoint.listen, endpoint.port)
    except OSError as error:
        where = f"endpoint {endpoint.endpoint} cannot have port {endpoint.port}"
        if error.errno == errno.EADDRINUSE:
            return f"{where}: {_listener(endpoint.port)} already listens there; end it or choose another port"
        if error.errno == errno.EACCES:
            return f"{where}: ports below 1024 need root or the capability CAP_NET_BIND_SERVICE"
        if error.errno == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror):
            return f"{where}: {endpoint.listen!r} is not an address of this machine"
        return f"{where}: {error.strerror}"
    return None


def _bind(listen: str, port: int) -> None:
    """Take the port as Xray would: the IPv4 wildcard becomes a socket for both families (Go does so)."""
    if listen in ("0.0.0.0", "::") and socket.has_dualstack_ipv6():  # noqa: S104 - compared, not opened
        family, address = socket.AF_INET6, "::"
    else:
        found = socket.getaddrinfo(listen, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        family, address = found[0][0], listen
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # Only lingering closed connections may be there; a listener still makes this fail.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6 and address == "::":
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        probe.bind((address, port))
        probe.listen(1)


def _listener(port: int) -> str:
    try:
        for found in psutil.net_connections("tcp"):
            if found.status == psutil.CONN_LISTEN and found.laddr[1:2] == (port,) and found.pid:
                return f"{psutil.Process(found.pid).name()} (process {found.pid})"
    except (psutil.Error, OSError):
        pass
    return "another program"
