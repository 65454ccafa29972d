"""Who is connected to an Xray, and from which addresses: what its host was told, as far as it still lives.

What always holds: a connection that has ended is in no list, however long the host remembers it; an address
stays in memory and is in no error.
"""

import asyncio
import ipaddress
from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from agent.core.sessions import Session
from agent.drivers import base
from agent.drivers.xray import control, labels, sockets
from shared.names import EndpointId, UserId


async def alive(host: control.Control, ports: Mapping[EndpointId, int]) -> list[Session]:
    """Each user with each of his addresses on each endpoint, once. Raises DriverError."""
    known = await host.connections(None)
    try:
        # Asked after the host was: what ended in between is left out, what began comes with the next list.
        return await asyncio.to_thread(lambda: matched(known, _live(ports)))
    except OSError as error:
        raise base.DriverError(f"the kernel does not list connections: {error.strerror}") from None


def matched(
    known: Mapping[str, AbstractSet[sockets.Peer]], live: Mapping[EndpointId, AbstractSet[sockets.Peer]]
) -> list[Session]:
    """The connections that are both known, by account, and alive, by endpoint."""
    found: set[tuple[UserId, EndpointId, bytes]] = set()
    for email, peers in known.items():
        parsed = labels.parse_email(email)
        if parsed is not None:
            there = peers & live.get(parsed[1], frozenset())
            found.update((*parsed, sockets.address(peer)) for peer in there)
    return [Session(user, endpoint, ipaddress.ip_address(packed)) for user, endpoint, packed in found]


def _live(ports: Mapping[EndpointId, int]) -> dict[EndpointId, set[sockets.Peer]]:
    return {endpoint: {one.peer for one in sockets.connections(port)} for endpoint, port in ports.items()}
