"""A real Xray with an inbound of any kind under a real driver, and real clients of several users on it.

Everything is in a network namespace of its own, so that what the driver does to the packet filter concerns
nobody else.
"""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.core.served import Served
from agent.drivers.xray import control, driver, options
from shared.messages import Account
from tests.agent.drivers.xray import rig, ways
from tests.kit import clients, echo, netns, programs, socks, source, vless

EDIT = Callable[[ways.Config], None]
#: Characters of a client's log that a failed test shows.
_TOLD = 2_000


@dataclass
class Lab:
    """What is served, and where from; clients are started with `client`."""

    path: Path
    way: ways.Way
    chosen: options.Options
    driver: driver.XrayDriver
    source: source.Source
    echo: echo.Echo
    port: int

    @contextlib.asynccontextmanager
    async def client(
        self, user: int, *, home: str = rig.HOME, port: int | None = None, edit: EDIT | None = None
    ) -> AsyncIterator["Client"]:
        """A real client of this user; `edit` changes its configuration first."""
        socks_port = rig.free_port()
        configuration = ways.client(self.way, user, port or self.port, socks_port, home=home)
        if edit:
            edit(configuration)
        file = self.path / f"client-{user}-{socks_port}.json"
        file.write_text(json.dumps(configuration))
        kind: clients.Kind = "sing-box" if self.way.client == "sing-box" else "xray"
        with _program(clients.command(kind, file), file.with_suffix(".log")):
            await rig.until(lambda: _answers(socks_port), within_s=15)
            yield Client(socks_port, self.source.port, self.echo.port)

    async def cut(self, *users: int) -> None:
        """Refuse, then cut, as the agent does; nothing may be left."""
        meters = [rig.meter(user) for user in users]
        assert await self.driver.block(meters) == {}
        cut = await self.driver.cut(meters)
        assert cut.ended
        assert not cut.left

    async def known(self) -> control.Known:
        """What the host was told."""
        return await control.Control(self.chosen.control).known(None)

    async def heard(self, events: int) -> bool:
        """Whether the host has heard of so many."""
        return (await control.Control(self.chosen.control).stats())["events"] >= events


@dataclass(frozen=True)
class Client:
    """A running client: streams and datagrams go through it."""

    socks_port: int
    source_port: int
    echo_port: int

    def tunnel(self) -> contextlib.AbstractAsyncContextManager[vless.Tunnel]:
        """A stream to the source."""
        return socks.tunnel(self.socks_port, self.source_port)

    def datagrams(self) -> contextlib.AbstractAsyncContextManager[socks.Datagrams]:
        """Datagrams to the echo."""
        return socks.datagrams(self.socks_port, self.echo_port)

    async def works(self, *, within_s: float = 3.0) -> bool:
        """Whether something can be fetched over a new stream."""
        try:
            async with asyncio.timeout(within_s), self.tunnel() as tunnel:
                return await tunnel.get("/bytes/1000") == 1000
        except (TimeoutError, ConnectionError, vless.RefusedError, socks.RefusedError):
            return False


def run(scenario: Callable[[], Coroutine[None, None, None]]) -> None:
    """Run a scenario in a network namespace that is there for it alone."""
    namespace = netns.name(os.urandom(2).hex(), "way")
    netns.make(namespace)
    try:
        with netns.entered(namespace):
            # Packets as wires have them: TCP treats the loss of one of 64 kB as it treats nothing outside.
            netns.ip("link", "set", "lo", "mtu", "1500")
            asyncio.run(scenario())
    finally:
        netns.remove(namespace)


@contextlib.asynccontextmanager
async def running(path: Path, way: ways.Way, *users: int | Account) -> AsyncIterator[Lab]:
    """An Xray that serves these users on endpoint 1, this way."""
    chosen = rig.choose(path)
    port = rig.free_port()
    with rig.locked(chosen.lock_file), source.Source() as bytes_from:
        async with rig.driven(chosen) as made, echo.served() as back:
            await made.start(served(way, port, *users))
            yield Lab(path, way, chosen, made, bytes_from, back, port)


def served(way: ways.Way, port: int, *users: int | Account) -> Served:
    """What the driver is to serve."""
    accounts = [ways.account(user) if isinstance(user, int) else user for user in users]
    return Served({ways.ENDPOINT: ways.endpoint(way, port)}, {rig.meter(one.user): one for one in accounts})


@contextlib.contextmanager
def _program(command: list[str], log: Path) -> Iterator[None]:
    with (
        log.open("ab") as said,
        subprocess.Popen(
            command, stdout=said, stderr=said, env=programs.clean_environment(), cwd=programs.ROOT
        ) as child,
    ):
        try:
            yield
        except BaseException as error:
            error.add_note(f"{log.name}:\n{log.read_text(errors='replace')[-_TOLD:]}")
            raise
        finally:
            child.kill()


async def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
