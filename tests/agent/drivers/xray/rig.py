"""A real Xray under a real driver for one test, with a source to pull from; nothing outlives the block."""

import asyncio
import contextlib
import fcntl
import os
import socket
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from agent.core import counting
from agent.core.served import Served
from agent.drivers.xray import control, driver, kinds, options, rpc, runfile
from shared.messages import Account, Endpoint
from shared.names import EndpointId, UserId
from tests.kit import source, vless

#: Not the loopback address itself, which Xray leaves out of its list of who is online.
HOME = "127.0.0.5"
ROOT = Path(__file__).resolve().parents[4]


@dataclass
class Rig:
    """The driver and what is around it; endpoint 1 is served, with no account."""

    chosen: options.Options
    driver: driver.XrayDriver
    source: source.Source
    port: int
    accounts: dict[int, Account] = field(default_factory=dict)

    def account(self, user: int, credential: str | None = None) -> Account:
        """An account on endpoint 1, with a credential of its own unless one is given."""
        made = account(user, credential)
        self.accounts[user] = made
        return made

    async def serve(self, *users: int) -> None:
        """Add accounts for these users."""
        assert await self.driver.add([self.account(user) for user in users]) == {}

    def tunnel(self, user: int, *, home: str = HOME) -> contextlib.AbstractAsyncContextManager[vless.Tunnel]:
        """A connection of this user to the source."""
        return vless.tunnel(self.port, self.accounts[user].uuid, self.source.port, source=home)

    async def works(self, user: int, size: int = 1000) -> bool:
        """Whether the user can fetch something over a new connection."""
        return await fetches(self.port, self.accounts[user].uuid, self.source.port, size)

    async def host_stats(self) -> dict[str, int]:
        """What the host has seen."""
        return await control.Control(self.chosen.control).stats()

    async def heard(self, events: int) -> bool:
        """Whether Xray has told the host of so many connections; it tells a moment after they are made."""
        return (await self.host_stats())["events"] == events

    @contextlib.asynccontextmanager
    async def api(self) -> AsyncIterator[rpc.Api]:
        """A connection of the test's own to Xray's API."""
        api = rpc.Api(self.chosen.api)
        try:
            yield api
        finally:
            await api.close()


def account(user: int, credential: str | None = None, endpoint: int = 1) -> Account:
    """An account with a random credential unless one is given."""
    text = credential or str(uuid.uuid4())
    return Account(user=UserId(user), endpoint=EndpointId(endpoint), uuid=text)


def login(credential: str) -> kinds.Login:
    """What Xray knows an account of endpoint 1 by."""
    return kinds.Login("vless", credential)


def meter(user: int, endpoint: int = 1) -> counting.Meter:
    """The meter of a user."""
    return counting.Meter(UserId(user), EndpointId(endpoint))


def serving(port: int, *accounts: Account, listen: str = "0.0.0.0") -> Served:
    """Endpoint 1 on this port with these accounts."""
    endpoint = Endpoint(endpoint=EndpointId(1), protocol="vless", port=port, listen=listen)
    return Served(
        endpoints={endpoint.endpoint: endpoint},
        accounts={meter(account.user, account.endpoint): account for account in accounts},
    )


async def fetches(port: int, credential: str, source_port: int, size: int = 1000) -> bool:
    """Whether this credential gets bytes through."""
    try:
        async with asyncio.timeout(5), vless.tunnel(port, credential, source_port, source=HOME) as tunnel:
            return await tunnel.get(f"/bytes/{size}") == size
    except (vless.RefusedError, ConnectionError):
        return False


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("0.0.0.0", 0))
        return int(probe.getsockname()[1])


def choose(
    path: Path, *, fence_s: float = 60.0, binary: Path | None = None, private: bool = True
) -> options.Options:
    """Options whose files are under a test's own directory."""
    return options.Options(
        run_dir=path / "run",
        lock_file=path / "lock",
        fence_s=fence_s,
        binary=binary,
        allow_private_targets=private,
    )


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock as a living agent does."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def owner(
    directory: Path, port: int, *credentials: str, fence_s: float = 60.0
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Another agent that has started Xray, and the generation it named; killed with the block."""
    module = "tests.agent.drivers.xray.owner"
    with subprocess.Popen(
        [sys.executable, "-m", module, str(directory), str(fence_s), str(port), *credentials],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        try:
            assert child.stdout is not None
            yield child, child.stdout.readline().strip()
        finally:
            child.kill()


def host_pid(directory: Path) -> int:
    """The process that holds Xray."""
    run = runfile.read(directory / "run")
    assert run is not None
    return run.pid


@contextlib.asynccontextmanager
async def driven(chosen: options.Options) -> AsyncIterator[driver.XrayDriver]:
    """A driver whose Xray is ended with the block, whatever became of it."""
    made = driver.XrayDriver(chosen)
    try:
        yield made
    finally:
        await made.stop()


@contextlib.asynccontextmanager
async def running(path: Path, *users: int, binary: Path | None = None) -> AsyncIterator[Rig]:
    """An Xray that serves these users."""
    chosen = choose(path, binary=binary)
    with locked(chosen.lock_file), source.Source() as bytes_from:
        async with driven(chosen) as made:
            port = free_port()
            await made.start(serving(port))
            rig = Rig(chosen, made, bytes_from, port)
            await rig.serve(*users)
            yield rig


async def until(condition: Callable[[], Awaitable[bool]], *, within_s: float = 5.0) -> None:
    """Ask until it is so."""
    async with asyncio.timeout(within_s):
        while not await condition():  # noqa: ASYNC110 - the condition is in another process
            await asyncio.sleep(0.01)
