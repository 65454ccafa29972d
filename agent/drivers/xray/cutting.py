"""Ends the live connections of chosen accounts and of nobody else.

The host knows which connection belongs to whom; the kernel ends it by its full identity. What always holds:
a connection that the host attributes to another account is never touched. A connection that nobody has been
named for is ended only when its account is still online, it comes from an address of that account, and it
has stayed unnamed for longer than any name needs to arrive.
"""

import asyncio
import logging
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from agent.core import counting
from agent.drivers import base
from agent.drivers.xray import control, labels, rpc, sockets
from shared import logs
from shared.names import EndpointId

LOGGER = logging.getLogger(__name__)

#: Pauses before each pass: the first cuts, the second sees it done, later ones wait for stragglers.
PAUSES_S = (0.0, 0.008, 0.015, 0.03, 0.05, 0.09, 0.11)
#: How long a connection must have stayed without a name before it can be taken for the wanted user's.
UNNAMED_S = 0.1
#: How long Xray may take to close its listeners before its connections are ended without that.
API_PATIENCE_S = 1.0


@dataclass
class _Progress:
    """What a cut has done so far."""

    ended: int = 0
    failed: int = 0
    strangers: bool = False
    first_seen_s: dict[bytes, float] = field(default_factory=dict)

    def count(self, outcome: sockets.Ended) -> None:
        self.ended += outcome.ended
        self.failed = outcome.failed


class Cutter:
    """Cuts connections of one running Xray."""

    def __init__(self, api: rpc.Api, host: control.Control, ports: Mapping[EndpointId, int]) -> None:
        self._api = api
        self._host = host
        self._ports = ports

    async def cut(self, meters: Iterable[counting.Meter]) -> base.Cut:
        """End the live connections of these; `left` when some are known to live on after the last pass."""
        emails = {labels.email(*meter): meter for meter in meters if meter.endpoint in self._ports}
        progress = _Progress()
        for number, pause_s in enumerate(PAUSES_S):
            await asyncio.sleep(pause_s)
            fresh = await self._named(emails, progress)
            if number == 0:
                continue
            online = emails.keys() & await self._api.online_users()
            progress.strangers = bool(online) and await self._unnamed(online, emails, progress)
            if not fresh and not progress.strangers and not progress.failed:
                break
        return base.Cut(progress.ended, left=progress.failed > 0 or progress.strangers)

    async def cut_all(self) -> base.Cut:
        """Close all listeners for good, so that nobody comes back, and end every connection to them.

        Xray need not answer: a core that hangs loses its connections all the same, but may accept new ones.
        """
        closed = await self._answered(self._close_listeners())
        progress = _Progress()
        for pause_s in PAUSES_S:
            await asyncio.sleep(pause_s)
            live = [found for port in self._ports.values() for found in await _connections(port)]
            if not live and not (closed and await self._answered(self._busy())):
                break
            progress.count(await asyncio.to_thread(sockets.end, live))
        return base.Cut(progress.ended, left=progress.failed > 0 or (bool(live) and not closed))

    async def _close_listeners(self) -> bool:
        for tag in await self._api.inbounds():
            if labels.parse_tag(tag) is not None:
                await self._api.remove_inbound(tag)
        return True

    async def _busy(self) -> bool:
        return bool(await self._api.online_users())

    async def _answered(self, question: Coroutine[None, None, bool]) -> bool:
        """The answer of Xray, False when it has none within a second."""
        try:
            async with asyncio.timeout(API_PATIENCE_S):
                return await question
        except (TimeoutError, base.DriverError) as error:
            reason = str(error) or f"Xray did not answer within {API_PATIENCE_S:g} s"
            logs.event(LOGGER, logging.WARNING, "xray_silent_during_cut", reason=reason)
            return False

    async def _named(self, emails: Mapping[str, counting.Meter], progress: _Progress) -> bool:
        """One pass over the connections known to be theirs; whether there were any."""
        known = await self._host.connections(emails)
        wanted: dict[int, set[sockets.Peer]] = {}
        for email, peers in known.items():
            wanted.setdefault(self._ports[emails[email].endpoint], set()).update(peers)
        targets: list[sockets.Socket] = []
        for port, theirs in wanted.items():
            targets += [found for found in await _connections(port) if found.peer in theirs]
        progress.count(await asyncio.to_thread(sockets.end, targets))
        return bool(targets)

    async def _unnamed(
        self, online: AbstractSet[str], emails: Mapping[str, counting.Meter], progress: _Progress
    ) -> bool:
        """One pass over connections without a name from addresses of who is still online; whether any."""
        candidates = await self._candidates(online, emails)
        now_s = asyncio.get_running_loop().time()
        old = [
            found
            for found in candidates
            if now_s - progress.first_seen_s.setdefault(found.identity, now_s) >= UNNAMED_S
        ]
        if old:
            logs.event(LOGGER, logging.INFO, "xray_cut_by_elimination", connections=len(old))
            progress.count(await asyncio.to_thread(sockets.end, old))
        return bool(candidates)

    async def _candidates(
        self, online: AbstractSet[str], emails: Mapping[str, counting.Meter]
    ) -> list[sockets.Socket]:
        addresses: dict[EndpointId, set[bytes]] = {}
        for email in online:
            texts = await self._api.online_ips(email)
            addresses.setdefault(emails[email].endpoint, set()).update(map(_packed, texts))
        live = {endpoint: await _connections(self._ports[endpoint]) for endpoint in addresses}
        # Asked after the list was taken: whoever is in the list had the longest time to be named.
        known = await self._host.connections(None)
        return [
            found
            for endpoint, of_them in addresses.items()
            for found in unnamed(live[endpoint], _owned(known, endpoint), of_them)
        ]


def unnamed(
    live: Sequence[sockets.Socket], owned: AbstractSet[sockets.Peer], addresses: AbstractSet[bytes]
) -> list[sockets.Socket]:
    """The connections from these addresses that belong to nobody known."""
    return [found for found in live if found.peer not in owned and sockets.address(found.peer) in addresses]


def _owned(known: Mapping[str, AbstractSet[sockets.Peer]], endpoint: EndpointId) -> set[sockets.Peer]:
    tail = f"-{labels.tag(endpoint)}"
    return {peer for email, peers in known.items() if email.endswith(tail) for peer in peers}


def _packed(text: str) -> bytes:
    return sockets.address(sockets.peer(text, 0))


async def _connections(port: int) -> list[sockets.Socket]:
    return await asyncio.to_thread(sockets.connections, port)
