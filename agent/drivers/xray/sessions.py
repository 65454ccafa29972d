"""Who is connected to an Xray, and from which addresses: what its host was told, as far as it still lives.

What always holds: a connection that has ended is in no list, however long the host remembers it; a client on
UDP, who has no connection, is in it while Xray has him online from there; an address stays in memory and is
in no error.
"""

import asyncio
import ipaddress
from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from agent.core.sessions import Session
from agent.drivers import base
from agent.drivers.xray import control, labels, rpc, sockets
from shared.names import EndpointId, UserId


async def alive(
    host: control.Control, ports: Mapping[EndpointId, int], api: rpc.Api | None = None
) -> list[Session]:
    """Each user with each of his addresses on each endpoint, once. Raises DriverError.

    `ports` are those on TCP; without `api` clients on UDP are left out.
    """
    known = await host.known(None)
    try:
        # Asked after the host was: what ended in between is left out, what began comes with the next list.
        found = await asyncio.to_thread(lambda: matched(known.streams, _live(ports)))
    except OSError as error:
        raise base.DriverError(f"the kernel does not list connections: {error.strerror}") from None
    if api is None or not known.datagrams:
        return found
    return list({*found, *named(await _online(api, known.datagrams))})


def matched(
    known: Mapping[str, AbstractSet[sockets.Peer]], live: Mapping[EndpointId, AbstractSet[sockets.Peer]]
) -> list[Session]:
    """The connections that are both known, by account, and alive, by endpoint."""
    there = {
        email: {sockets.address(peer) for peer in peers & live.get(parsed[1], frozenset())}
        for email, peers in known.items()
        if (parsed := labels.parse_email(email))
    }
    return named(there)


def named(addresses: Mapping[str, AbstractSet[bytes]]) -> list[Session]:
    """A session for each address, packed, of each account."""
    found: set[tuple[UserId, EndpointId, bytes]] = set()
    for email, packed in addresses.items():
        parsed = labels.parse_email(email)
        if parsed is not None:
            found.update((*parsed, one) for one in packed)
    return [Session(user, endpoint, ipaddress.ip_address(packed)) for user, endpoint, packed in found]


async def _online(
    api: rpc.Api, datagrams: Mapping[str, AbstractSet[sockets.Peer]]
) -> dict[str, AbstractSet[bytes]]:
    """Addresses of clients on UDP that Xray has online; it is asked which where there are several."""
    online = await api.online_users()
    found: dict[str, AbstractSet[bytes]] = {}
    for email in datagrams.keys() & online:
        packed = {sockets.address(peer) for peer in datagrams[email]}
        if len(packed) > 1:
            packed &= {sockets.address(sockets.peer(text, 0)) for text in await api.online_ips(email)}
        found[email] = packed
    return found


def _live(ports: Mapping[EndpointId, int]) -> dict[EndpointId, set[sockets.Peer]]:
    return {endpoint: {one.peer for one in sockets.connections(port)} for endpoint, port in ports.items()}
