"""Ends the live connections of chosen accounts and of nobody else.

The host knows which connection belongs to whom; the kernel ends it by its full identity, or drops its packets
where it is on UDP. What always holds: a connection that the host attributes to another account is never
touched, nor one that carries another who is online. A connection that nobody has been named for is ended only
when its account is still online, it comes from an address of that account, it has stayed unnamed for longer
than any name needs to arrive, and every connection of its endpoint is named.
"""

import asyncio
import logging
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Protocol

from agent.core import counting
from agent.drivers import base
from agent.drivers.xray import carriers, control, labels, rpc, sockets
from shared import logs
from shared.names import EndpointId

LOGGER = logging.getLogger(__name__)

#: Pauses before each pass: the first cuts, the second sees it done, later ones wait for stragglers.
PAUSES_S = (0.0, 0.008, 0.015, 0.03, 0.05, 0.09, 0.11)
#: How long a connection must have stayed without a name before it can be taken for the wanted user's.
UNNAMED_S = 0.1
#: How long Xray may take to close its listeners before its connections are ended without that.
API_PATIENCE_S = 1.0

SHARED = "a connection carries others as well, as those of a CDN do: it was left alone"
_VEILED = "clients are told of by a proxy in front, so their connections are not known here"
_UNKNOWN = "Xray has the user online, but not by a connection that is known here"
_UNBLOCKED = "packets of clients on UDP cannot be dropped here"


class Bars(Protocol):
    """Whoever drops the packets of clients on UDP."""

    async def bar(self, clients: Mapping[counting.Meter, tuple[int, AbstractSet[sockets.Peer]]]) -> bool:
        """Block these clients, each on a port; whether it was done."""


@dataclass
class _Progress:
    """What a cut has done so far; `why` is the reason for what is left, by account."""

    ended: int = 0
    failed: int = 0
    strangers: bool = False
    first_seen_s: dict[bytes, float] = field(default_factory=dict)
    barred: dict[str, set[sockets.Peer]] = field(default_factory=dict)
    known: dict[str, set[sockets.Peer]] = field(default_factory=dict)
    why: dict[str, str] = field(default_factory=dict)

    def count(self, outcome: sockets.Ended) -> None:
        self.ended += outcome.ended
        self.failed = outcome.failed


class Cutter:
    """Cuts connections of one running Xray."""

    def __init__(
        self,
        api: rpc.Api,
        host: control.Control,
        ways: Mapping[EndpointId, carriers.Carriers],
        bars: Bars,
    ) -> None:
        self._api = api
        self._host = host
        self._ways = ways
        self._bars = bars
        #: Endpoints found to have connections that carry several users.
        self.sharing: set[EndpointId] = set()

    async def cut(self, meters: Iterable[counting.Meter]) -> base.Cut:
        """End the live connections of these; `left` when some may live on after the last pass."""
        emails = {labels.email(*meter): meter for meter in meters if meter.endpoint in self._ways}
        progress = _Progress()
        for number, pause_s in enumerate(PAUSES_S):
            await asyncio.sleep(pause_s)
            fresh = await self._named(emails, progress)
            if number == 0:
                continue
            online = emails.keys() & await self._api.online_users()
            progress.strangers = bool(online) and await self._unnamed(online, emails, progress)
            awaited = await self._unexplained(online, emails, progress)
            if not fresh and not progress.strangers and not progress.failed and not awaited:
                break
        for email, reason in progress.why.items():
            meter = emails[email]
            logs.event(LOGGER, logging.WARNING, "xray_cut_incomplete", **meter._asdict(), reason=reason)
        left = progress.failed > 0 or progress.strangers or bool(progress.why)
        return base.Cut(progress.ended, left=left)

    async def cut_all(self) -> base.Cut:
        """Close all listeners for good, so that nobody comes back, and end every connection to them.

        Xray need not answer: a core that hangs loses its connections all the same, but may accept new ones,
        and goes on with its clients on UDP, whom only the end of their listener cuts.
        """
        closed = await self._answered(self._close_listeners())
        progress = _Progress()
        ports = [way.port for way in self._ways.values() if way.tcp]
        on_udp = len(ports) < len(self._ways) or any(way.udp for way in self._ways.values())
        for pause_s in PAUSES_S:
            await asyncio.sleep(pause_s)
            live = [found for port in ports for found in await _connections(port)]
            if not live and not (closed and await self._answered(self._busy())):
                break
            progress.count(await asyncio.to_thread(sockets.end, live))
        return base.Cut(progress.ended, left=progress.failed > 0 or (not closed and (bool(live) or on_udp)))

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
        """One pass over what is known to be theirs; whether there was anything to do."""
        known = await self._host.known(emails)
        progress.why.clear()
        others = await self._carrying_others(known, emails, progress)
        for peers_of in (known.streams, known.datagrams):
            for email, peers in peers_of.items():
                progress.known.setdefault(email, set()).update(peers)
        barred = await self._bar(_without(known.datagrams, others), emails, progress)
        wanted: dict[int, set[sockets.Peer]] = {}
        for email, theirs in _without(known.streams, others).items():
            wanted.setdefault(self._ways[emails[email].endpoint].port, set()).update(theirs)
        targets: list[sockets.Socket] = []
        for port, theirs in wanted.items():
            targets += [found for found in await _connections(port) if found.peer in theirs]
        if targets:
            progress.count(await asyncio.to_thread(sockets.end, targets))
        return bool(targets) or barred

    async def _bar(
        self,
        datagrams: Mapping[str, AbstractSet[sockets.Peer]],
        emails: Mapping[str, counting.Meter],
        progress: _Progress,
    ) -> bool:
        fresh = {
            email: new
            for email, peers in datagrams.items()
            if (new := peers - progress.barred.get(email, set())) and email in emails
        }
        if not fresh:
            return False
        clients = {
            emails[email]: (self._ways[emails[email].endpoint].port, peers) for email, peers in fresh.items()
        }
        if not await self._bars.bar(clients):
            progress.why |= dict.fromkeys(fresh, _UNBLOCKED)
            return False
        for email, peers in fresh.items():
            progress.barred.setdefault(email, set()).update(peers)
            progress.ended += len(peers)
        return True

    async def _carrying_others(
        self, known: control.Known, emails: Mapping[str, counting.Meter], progress: _Progress
    ) -> dict[str, set[sockets.Peer]]:
        """Connections of theirs that carry somebody who is online and not to be cut himself."""
        if not known.sharers:
            return {}
        online = await self._api.online_users()
        found: dict[str, set[sockets.Peer]] = {}
        for email, sharers in known.sharers.items():
            others = {peer: of - emails.keys() for peer, of in sharers.items()}
            if carrying := {p for p, of in others.items() if of and (of & online or self._blind(p))}:
                found[email] = carrying
                progress.why[email] = SHARED
                self.sharing.add(emails[email].endpoint)
        return found

    def _blind(self, peer: sockets.Peer) -> bool:
        """Whether nobody can tell who is online from there, as from the loopback address itself."""
        return not self._api.tells_online or sockets.address(peer) in (b"\x7f\0\0\1", bytes(15) + b"\1")

    async def _unnamed(
        self, online: AbstractSet[str], emails: Mapping[str, counting.Meter], progress: _Progress
    ) -> bool:
        """One pass over connections without a name from addresses of who is still online; whether any."""
        named = {email for email in online if self._ways[emails[email].endpoint].named}
        candidates = await self._candidates(named, emails, progress) if named else []
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
        self, online: AbstractSet[str], emails: Mapping[str, counting.Meter], progress: _Progress
    ) -> list[sockets.Socket]:
        addresses: dict[EndpointId, set[bytes]] = {}
        for email in online:
            # Clients on UDP that are blocked are online until Xray misses them: that is no sign of others.
            theirs = await self._addresses(email) - _addresses(progress.barred.get(email, ()))
            addresses.setdefault(emails[email].endpoint, set()).update(theirs)
        live = {endpoint: await _connections(self._ways[endpoint].port) for endpoint in addresses}
        # Asked after the list was taken: whoever is in the list had the longest time to be named.
        known = (await self._host.known(None)).streams
        return [
            found
            for endpoint, of_them in addresses.items()
            for found in unnamed(live[endpoint], _owned(known, endpoint), of_them)
        ]

    async def _unexplained(
        self, online: AbstractSet[str], emails: Mapping[str, counting.Meter], progress: _Progress
    ) -> bool:
        """Note who is online by what is not known here; whether it may become known in a moment."""
        awaited = False
        for email in online - progress.why.keys():
            way = self._ways[emails[email].endpoint]
            if way.veiled:
                progress.why[email] = _VEILED
            elif way.udp and not way.keyed and await self._elsewhere(email, progress):
                progress.why[email] = _UNKNOWN
                awaited = True
        return awaited

    async def _elsewhere(self, email: str, progress: _Progress) -> bool:
        """Whether he is online from an address that nothing is known of."""
        return bool(await self._addresses(email) - _addresses(progress.known.get(email, ())))

    async def _addresses(self, email: str) -> set[bytes]:
        """From where he is online."""
        return {sockets.address(sockets.peer(text, 0)) for text in await self._api.online_ips(email)}


def unnamed(
    live: Sequence[sockets.Socket], owned: AbstractSet[sockets.Peer], addresses: AbstractSet[bytes]
) -> list[sockets.Socket]:
    """The connections from these addresses that belong to nobody known."""
    return [found for found in live if found.peer not in owned and sockets.address(found.peer) in addresses]


def _owned(known: Mapping[str, AbstractSet[sockets.Peer]], endpoint: EndpointId) -> set[sockets.Peer]:
    tail = f"-{labels.tag(endpoint)}"
    return {peer for email, peers in known.items() if email.endswith(tail) for peer in peers}


def _addresses(peers: Iterable[sockets.Peer]) -> set[bytes]:
    return {sockets.address(peer) for peer in peers}


def _without(
    known: Mapping[str, AbstractSet[sockets.Peer]], others: Mapping[str, AbstractSet[sockets.Peer]]
) -> dict[str, AbstractSet[sockets.Peer]]:
    return {email: peers - others.get(email, frozenset()) for email, peers in known.items()}


async def _connections(port: int) -> list[sockets.Socket]:
    return await asyncio.to_thread(sockets.connections, port)
