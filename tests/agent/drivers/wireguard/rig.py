"""A real interface under a real driver in a namespace of its own, and clients in others, for one test."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from agent.core import meter as metering
from agent.core.counting import Count, Reading
from agent.core.standings import Standings
from agent.drivers.wireguard import driver, options
from shared.messages import Account, Endpoint
from tests.kit import lab, wireguard

#: Where users 2 and 3 are.
PLACES = {2: "home", 3: "away"}
REASON = wireguard.missing()
#: What needs root, namespaces and the programs.
real = [
    pytest.mark.e2e,
    pytest.mark.netns,
    pytest.mark.skipif(REASON is not None, reason=REASON or ""),
]


@dataclass
class Rig:
    """The places "node" and "home", the driver on the node, and what an agent's ledger would know."""

    places: lab.Lab
    driver: driver.WireGuardDriver
    chosen: options.Options
    keys: wireguard.Keys
    endpoint: Endpoint
    standings: Standings = field(default_factory=Standings)

    @property
    def interface(self) -> str:
        """The name of endpoint 1's interface."""
        return self.chosen.interface(self.endpoint.endpoint)

    @property
    def way(self) -> tuple[str, int]:
        """Where clients find the node."""
        return self.places["node"].address, self.endpoint.port

    def home(self, user: wireguard.User) -> lab.Place:
        """Where this user is: each has a place of his own, since their tunnels lead to the same addresses."""
        return self.places[PLACES[user.number]]

    def client(self, user: wireguard.User) -> contextlib.AbstractContextManager[wireguard.Client]:
        """A client of this user where he is."""
        return wireguard.client(user, self.keys, self.way, self.home(user))

    def up(self, user: wireguard.User, *, six: bool = False) -> wireguard.Pipe:
        """From the user to the node."""
        target = "fd66::1" if six else "10.66.0.1"
        return wireguard.Pipe(self.home(user), user.addresses[six], self.places["node"], target)

    def down(self, user: wireguard.User) -> wireguard.Pipe:
        """From the node to the user."""
        return wireguard.Pipe(self.places["node"], "10.66.0.1", self.home(user), user.addresses[0])

    async def count(self, user: wireguard.User) -> Count:
        """What the driver counts of him now."""
        (reading,) = await self.driver.read()
        return reading.counts.get(user.meter, Count(0, 0))

    async def total(self, user: wireguard.User) -> Count:
        """What a ledger has of him after a reading: it never falls."""
        for reading in await self.driver.read():
            self._book(reading)
        standing = self.standings.get(user.meter)
        return standing.total if standing else Count(0, 0)

    async def cut(self, *users: wireguard.User) -> None:
        """As the loops do it: block, read, cut."""
        meters = [user.meter for user in users]
        assert await self.driver.block(meters) == {}
        for reading in await self.driver.read():
            self._book(reading)
        assert not (await self.driver.cut(meters)).left

    def _book(self, reading: Reading) -> None:
        after = metering.advance(self.standings, reading, 1)
        for which, total in after.totals.items():
            before = self.standings.get(which)
            assert before is None or (total.up >= before.up and total.down >= before.down)
        self.standings = after.standings


def run(
    path: Path,
    play: Callable[[Rig], Coroutine[Any, Any, None]],
    *accounts: Account,
    masquerade: bool = False,
    fence_s: float | None = None,
) -> None:
    """Play a scenario on the node, with endpoint 1 served to these accounts."""

    async def scenario(rig: Rig) -> None:
        try:
            await rig.driver.start(wireguard.serving(rig.endpoint, *accounts))
            await play(rig)
        finally:
            await rig.driver.stop()

    with (
        lab.namespaces(["node", *PLACES.values()]) as opened,
        wireguard.chosen(path, fence_s=fence_s) as chosen,
    ):
        node, keys = opened["node"], wireguard.keys()
        endpoint = wireguard.endpoint(keys, node.free_port(), masquerade=masquerade)
        with node.inside():
            made = driver.WireGuardDriver(chosen)
            asyncio.run(scenario(Rig(opened, made, chosen, keys, endpoint)))


@contextlib.asynccontextmanager
async def another(chosen: options.Options) -> AsyncIterator[driver.WireGuardDriver]:
    """The driver of the next agent, which lets go of what it has with the block."""
    made = driver.WireGuardDriver(chosen)
    try:
        yield made
    finally:
        await made.leave()


async def until(condition: Callable[[], Awaitable[bool]], *, within_s: float = 20.0) -> None:
    """Ask until it is so."""
    async with asyncio.timeout(within_s):
        while not await condition():  # noqa: ASYNC110 - the condition is in another process
            await asyncio.sleep(0.02)
