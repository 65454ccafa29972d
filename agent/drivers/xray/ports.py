"""Whether Xray's ports are free, asked before it starts.

Xray listens with SO_REUSEPORT, so it would share a port with another program without a word and the kernel
would deal connections to both at random. What always holds: a port is asked for without SO_REUSEPORT and
given back at once.
"""

import errno
import socket
from collections.abc import Iterable

import psutil

from agent.drivers.xray import certificates, checks
from shared.messages import Endpoint
from shared.names import EndpointId

_TYPES = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


def taken(endpoints: Iterable[Endpoint]) -> list[str]:
    """A sentence for each endpoint whose address cannot be had."""
    return [sentence for endpoint in endpoints if (sentence := problem(endpoint))]


def problem(endpoint: Endpoint) -> str | None:
    """Why its address cannot be had, in a sentence; None when it can."""
    for network in sorted(checks.networks(endpoint)):
        if sentence := _problem(endpoint, network):
            return sentence
    return None


def obstacles(wanted: Iterable[Endpoint], ours: Iterable[Endpoint]) -> dict[EndpointId, str]:
    """Why these cannot be had: their certificate or their port; what Xray itself has is not in the way."""
    mine = {(network, one.port) for one in ours for network in checks.networks(one)}
    found: dict[EndpointId, str] = {}
    for one in wanted:
        if checks.alone(one):
            continue  # that is not for others to put right
        foreign = any((network, one.port) not in mine for network in checks.networks(one))
        if reason := certificates.problem(one) or (problem(one) if foreign else None):
            found[one.endpoint] = reason
    return found


def used(listen: str, port: int, network: str) -> bool:
    """Whether somebody has this address."""
    try:
        _bind(listen, port, network)
    except OSError as error:
        return error.errno == errno.EADDRINUSE
    return False


def free(address: str) -> int:
    """A port on which nobody listens there, with neither TCP nor UDP."""
    for _ in range(100):
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            tcp.bind((address, 0))
            port = int(tcp.getsockname()[1])
            try:
                udp.bind((address, port))
            except OSError:
                continue
            return port
    raise OSError(errno.EADDRINUSE, "no port is free")


def _problem(endpoint: Endpoint, network: str) -> str | None:
    try:
        _bind(endpoint.listen, endpoint.port, network)
    except OSError as error:
        where = f"endpoint {endpoint.endpoint} cannot have port {endpoint.port}"
        if error.errno == errno.EADDRINUSE:
            owner = _listener(endpoint.port, network)
            return f"{where}: {owner} already listens there; end it or choose another port"
        if error.errno == errno.EACCES:
            return f"{where}: ports below 1024 need root or the capability CAP_NET_BIND_SERVICE"
        if error.errno == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror):
            return f"{where}: {endpoint.listen!r} is not an address of this machine"
        return f"{where}: {error.strerror}"
    return None


def _bind(listen: str, port: int, network: str) -> None:
    """Take the port as Xray would: the IPv4 wildcard becomes a socket for both families (Go does so)."""
    if listen in ("0.0.0.0", "::") and socket.has_dualstack_ipv6():  # noqa: S104 - compared, not opened
        family, address = socket.AF_INET6, "::"
    else:
        found = socket.getaddrinfo(listen, port, type=_TYPES[network], flags=socket.AI_NUMERICHOST)
        family, address = found[0][0], listen
    with socket.socket(family, _TYPES[network]) as probe:
        if network == "tcp":
            # Only lingering closed connections may be there; a listener still makes this fail.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6 and address == "::":
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        probe.bind((address, port))
        if network == "tcp":
            probe.listen(1)


def _listener(port: int, network: str) -> str:
    listening = psutil.CONN_LISTEN if network == "tcp" else psutil.CONN_NONE
    try:
        for found in psutil.net_connections(network):
            if found.status == listening and found.laddr[1:2] == (port,) and found.pid:
                return f"{psutil.Process(found.pid).name()} (process {found.pid})"
    except (psutil.Error, OSError):
        pass
    return "another program"
