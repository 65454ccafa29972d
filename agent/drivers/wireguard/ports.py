"""Whether the UDP ports of endpoints are free, asked before anything is touched."""

import errno
import socket
from collections.abc import Collection, Sequence

from shared.messages import Endpoint
from shared.names import EndpointId


def obstacles(endpoints: Sequence[Endpoint], ours: Collection[int]) -> dict[EndpointId, str]:
    """A sentence for each whose port is not; `ours` are those that our own interfaces have."""
    found: dict[EndpointId, str] = {}
    taken: dict[int, EndpointId] = {}
    for endpoint in endpoints:
        first = taken.setdefault(endpoint.port, endpoint.endpoint)
        if first != endpoint.endpoint:
            found[endpoint.endpoint] = f"UDP port {endpoint.port} is that of endpoint {first}"
        elif endpoint.port not in ours and _is_taken(endpoint.port):
            found[endpoint.endpoint] = f"another program has UDP port {endpoint.port}"
    return found


def _is_taken(port: int) -> bool:
    return _refused(socket.AF_INET, "0.0.0.0", port) or _refused(socket.AF_INET6, "::", port)  # noqa: S104 - as WireGuard does


def _refused(family: socket.AddressFamily, address: str, port: int) -> bool:
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind((address, port))
    except OSError as error:
        return error.errno == errno.EADDRINUSE
    return False
