"""Tells the collector who is connected, by keyed hashes of the clients' addresses (rows H6, H7).

What always holds: an address is hashed and placed as soon as the driver has named it, and forgotten with that
list; it is in no message, log or error. The key is the collector's, stays in memory and is forgotten after
its day. Everybody who is connected is told each time, so a lost message is made up for by the next one.
"""

import asyncio
import contextlib
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from agent.core import sessions
from agent.core.sessions import Address, Session
from agent.drivers.base import CoreDownError
from agent.loops import pace
from agent.loops.node import Node
from shared.messages import Place, Sighting, Sightings
from shared.names import MAX_SIGHTINGS, MAX_USER_SIGHTINGS, UserId


class Placed(Protocol):
    """Where an address is; None for what is not known."""

    @property
    def country(self) -> str | None:
        """The country."""

    @property
    def city(self) -> str | None:
        """The city."""

    @property
    def isp(self) -> str | None:
        """Whose network it is."""


PlaceOf = Callable[[Address], Placed | None]


def nowhere(_address: Address) -> Placed | None:
    """Without a file of places nothing is known of any address."""
    return None


@dataclass(frozen=True, kw_only=True)
class _Salt:
    """What addresses are hashed with; none yet, or outdated, where it is to be asked for."""

    number: int = 0
    key: bytes = field(default=b"", repr=False)
    until_s: float = 0.0


class SessionsLoop:
    """From the core's connections to the collector."""

    def __init__(self, node: Node, place_of: PlaceOf = nowhere) -> None:
        self._node = node
        self._place_of = place_of
        self._salt = _Salt()
        #: Places by hash, of those seen the last time: looking one up costs ten times a hash.
        self._places: dict[str, Place | None] = {}

    async def once(self) -> float:
        """Tell who is connected; returns the seconds until the next time."""
        # A second time where the first one only taught a new salt, as after a restart of the collector.
        for _ in range(2):
            if await self._tell():
                break
        return pace.jittered(self._node.pace.sessions_s)

    async def run(self) -> None:
        """Tell for ever."""
        await pace.forever(self._node, "sessions", self.once)

    async def _tell(self) -> bool:
        if time.monotonic() >= self._salt.until_s:
            self._salt, self._places = _Salt(), {}
            await self._send(0, [])
        salt = self._salt.number
        rows = await self._sighted()
        for part in _parts(rows):
            if not await self._send(salt, part):
                return False
        return True

    async def _send(self, salt: int, rows: Sequence[Sighting]) -> bool:
        asked_s = time.monotonic()
        answer = await self._node.link.sightings(Sightings(salt=salt, rows=list(rows)))
        if answer.salt != self._salt.number:
            self._salt = _Salt(number=answer.salt, key=answer.key, until_s=asked_s + answer.for_s)
            self._places = {}
        return answer.taken

    async def _sighted(self) -> list[Sighting]:
        alive: list[Session] = []
        for core in self._node.cores:
            with contextlib.suppress(CoreDownError):
                alive += await core.driver.sessions()
        # Ten thousand of them take a tenth of a second, which the readings of the counters must not wait for.
        return await asyncio.to_thread(self._hashed, alive)

    def _hashed(self, alive: list[Session]) -> list[Sighting]:
        """Empties the list of addresses into one of hashes."""
        rows: dict[tuple[object, ...], Sighting] = {}
        counted: Counter[UserId] = Counter()
        places: dict[str, Place | None] = {}
        while alive:
            user, endpoint, address = alive.pop()
            if counted[user] >= MAX_USER_SIGHTINGS:
                continue
            name = sessions.hashed(self._salt.key, address)
            if (user, endpoint, name) not in rows:
                counted[user] += 1
                places[name] = self._places[name] if name in self._places else self._place(address)
                row = Sighting(user=user, endpoint=endpoint, address=name, place=places[name])
                rows[user, endpoint, name] = row
        self._places = places
        return list(rows.values())

    def _place(self, address: Address) -> Place | None:
        try:
            found = self._place_of(address)
        except Exception:  # noqa: BLE001 - its words may hold the address, and nobody is worth losing for it
            return None
        return None if found is None else Place(found.country, found.city, found.isp)


def _parts(rows: Sequence[Sighting]) -> Iterator[Sequence[Sighting]]:
    left = iter(rows)
    while part := list(itertools.islice(left, MAX_SIGHTINGS)):
        yield part
