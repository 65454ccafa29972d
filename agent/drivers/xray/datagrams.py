"""The clients on UDP of one Xray as its driver sees them: blocked with a cut, let through when served again.

What always holds: what is blocked ends by itself; who comes back with the credential he had is let through at
once, and with another one only once his old session is over, which must not outlive the old credential.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from agent.core.counting import Meter
from agent.drivers import nft
from agent.drivers.xray import barrier, carriers, kinds, sockets
from shared import logs

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Barred:
    """Clients of one account on one port that are blocked, and what it was served with."""

    credential: kinds.Login | None
    port: int
    wanted: barrier.Wanted
    until_s: float


class Datagrams:
    """Who is blocked on UDP now. `refusal` says why nobody can be; None if all can."""

    def __init__(self, fence: barrier.Barrier, refusal: str | None) -> None:
        self.refusal = refusal
        self._fence = fence
        self._credentials: dict[Meter, kinds.Login | None] = {}
        self._barred: dict[Meter, _Barred] = {}
        self._ports: frozenset[int] = frozenset()
        self._quic: frozenset[int] = frozenset()

    async def serve(self, ways: Iterable[carriers.Carriers]) -> None:
        """Endpoints are served these ways; without any on UDP the kernel's table goes."""
        on_udp = [way for way in ways if way.udp and not way.keyed]
        self._ports = frozenset(way.port for way in on_udp)
        self._quic = frozenset(way.port for way in on_udp if way.quic)
        if self.refusal is None and (self._ports or self._fence.stands):
            await self._watch()

    def leaving(self, credentials: Mapping[Meter, kinds.Login | None]) -> None:
        """These accounts are refused from now on, and had these credentials."""
        self._credentials |= credentials

    async def bar(self, clients: Mapping[Meter, tuple[int, AbstractSet[sockets.Peer]]]) -> bool:
        """Block these clients, each on a port; whether it was done."""
        wanted = {meter: (port, barrier.Wanted(peers)) for meter, (port, peers) in clients.items()}
        if self.refusal or not await self._block(_by_port(wanted.values())):
            return False
        # What is known is blocked at once; where else sessions of QUIC go takes longer to find out.
        links = await self._links({port for port, _ in clients.values()})
        further = {
            meter: (port, barrier.Kinship(links[port]).of(peers))
            for meter, (port, peers) in clients.items()
            if port in links
        }
        if further and not await self._block(_by_port(further.values())):
            return False
        wanted |= further
        now_s = asyncio.get_running_loop().time()
        self._barred = {meter: barred for meter, barred in self._barred.items() if barred.until_s > now_s}
        for meter, (port, whom) in wanted.items():
            before = self._barred.get(meter)
            both = _joined(whom, before.wanted) if before else whom
            credential = self._credentials.get(meter)
            self._barred[meter] = _Barred(credential, port, both, now_s + barrier.BLOCK_S)
        return True

    def forget(self, meters: Iterable[Meter]) -> None:
        """The cut of these is over."""
        for meter in meters:
            self._credentials.pop(meter, None)

    async def admit(self, credentials: Sequence[tuple[Meter, kinds.Login | None]]) -> None:
        """These are served again: let those through who have the credential they had."""
        again = {
            meter: barred
            for meter, credential in credentials
            if (barred := self._barred.get(meter)) and credential and barred.credential == credential
        }
        clients = _by_port((barred.port, barred.wanted) for barred in again.values())
        if again and await self._try("udp_not_unblocked", lambda: self._fence.unblock(clients)):
            for meter in again:
                del self._barred[meter]

    async def _watch(self) -> bool:
        return await self._try("udp_not_watched", lambda: self._fence.watch(self._ports, self._quic))

    async def _links(self, ports: AbstractSet[int]) -> dict[int, list[barrier.Link]]:
        """What the kernel knows of sessions of QUIC; without it clients are blocked by address and port."""
        try:
            return await asyncio.to_thread(self._fence.links) if ports & self._quic else {}
        except nft.NftError:
            return {}

    async def _block(self, clients: barrier.Clients) -> bool:
        if await self._try("udp_not_blocked", lambda: self._fence.block(clients)):
            return True
        # Whoever loads a firewall anew often empties all tables first, ours as well.
        return await self._watch() and await self._try("udp_not_blocked", lambda: self._fence.block(clients))

    async def _try(self, event: str, act: Callable[[], None]) -> bool:
        try:
            await asyncio.to_thread(act)
        except nft.NftError as error:
            logs.event(LOGGER, logging.ERROR, event, reason=str(error))
            return False
        return True


def _by_port(clients: Iterable[tuple[int, barrier.Wanted]]) -> barrier.Clients:
    found: dict[int, barrier.Wanted] = {}
    for port, wanted in clients:
        found[port] = _joined(wanted, found[port]) if port in found else wanted
    return found


def _joined(one: barrier.Wanted, other: barrier.Wanted) -> barrier.Wanted:
    return barrier.Wanted(one.clients | other.clients, one.ids | other.ids)
