"""The whole REST front over a real store, in this process: requests go in as ASGI."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx

from collector import main, passwords, tokens
from collector.app import admins, endpoints, enrolment, managers, nodes, users
from collector.domain.access import SYSTEM, Actor, Role
from collector.domain.endpoints import NewEndpoint
from collector.domain.managers import NewManager
from collector.domain.nodes import NewNode
from collector.domain.users import NewUser
from collector.fronts.rest import application, table
from collector.fronts.rest.parts import Joining, Parts, Tunnels
from collector.hub import Hub
from collector.sessions import Sessions
from collector.store.database import Database
from collector.tracker import Tracker
from shared.endpoints import WireGuard
from shared.messages import Registration
from shared.names import EndpointId, ManagerId, NodeId, UserId
from tests.kit import stores
from tests.kit.stores import Store

T = TypeVar("T")

KEY = b"k" * tokens.KEY_BYTES
CA_PEM = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"
CA_HASH = "sha256:" + "a" * 64
URL = "https://collector.test:8443"
DEADLINE_S = 10.0
PASSWORD = "correct horse"
ZONE = "Asia/Tehran"
WINDOW_S = 30.0
PENALTY_S = 120.0
DNS = ("9.9.9.9", "2620:fe::fe")
INTERFACE_KEY = "CAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHB0A="

_JOINING = Joining(url=URL, ca_pem=CA_PEM, ca_hash=CA_HASH, ttl_s=600)


@dataclass(frozen=True)
class Joined:
    """An enrolled node with what it may say of itself."""

    id: NodeId
    client_id: str
    secret: str
    token: str


@dataclass
class Clock:
    """The clocks of sessions: the one for windows and penalties, and the calendar's."""

    now_s: float = 1_000.0
    now_ms: int = 0


@dataclass(kw_only=True)
class Rig:
    """A collector without its sockets. `now_ms` is its clock."""

    runner: asyncio.Runner
    data: Database
    hub: Hub
    parts: Parts
    http: httpx.AsyncClient
    now_ms: int
    tracker: Tracker
    clock: Clock

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the collector's loop, within the deadline."""
        return self.runner.run(_bounded(work))

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str | None = None,
        content: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        """One request."""
        all_headers = {"authorization": f"Bearer {token}"} if token else {}
        return await self.http.request(
            method, path, json=body, content=content, headers={**all_headers, **(headers or {})}
        )

    def send(self, method: str, path: str, body: object = None, **more: Any) -> httpx.Response:  # noqa: ANN401 - what ask takes
        """One request, from outside the loop."""
        return self.run(self.ask(method, path, body, **more))

    def token(self, role: Role, number: int, credential: int = 1) -> str:
        """A token as the collector gives it out now."""
        return tokens.issue(KEY, tokens.Bearer(Actor(role, number), credential), _wall_ms())

    def admin(self, password: str = PASSWORD, name: str = "root") -> str:
        """Make an admin; returns a token of his."""
        password_hash = passwords.hash_password(password)
        made = self.data.write_now(admins.create, name, password_hash, SYSTEM, self.now_ms)
        return self.token(Role.ADMIN, made.value)

    def node(self, name: str = "node-1") -> NodeId:
        """Make a node that nobody is enrolled as."""
        return self.data.write_now(nodes.create, NewNode(name=name), SYSTEM, self.now_ms).value.id

    def mint(self, node: NodeId, ttl_ms: int = 600_000) -> str:
        """A one-time token of this node."""
        token = passwords.new_secret("tge")
        hashed = passwords.hash_secret(token)
        self.data.write_now(enrolment.mint, node, hashed, self.now_ms + ttl_ms, SYSTEM, self.now_ms)
        return token

    def joined(self, name: str = "node-1") -> Joined:
        """Make a node and enrol an agent as it."""
        node, secret = self.node(name), passwords.new_secret("tgs")
        self.data.write_now(
            enrolment.redeem,
            passwords.hash_secret(self.mint(node)),
            f"client-of-{name}",
            passwords.hash_secret(secret),
            Registration(agent_version="1", hostname=name),
            self.now_ms,
        )
        standing = self.data.read_now(enrolment.standing, node)
        assert standing is not None
        token = self.token(Role.NODE, node, standing.credential)
        return Joined(node, f"client-of-{name}", secret, token)

    def endpoint(self, node: NodeId, port: int = 443) -> EndpointId:
        """Make an endpoint on a node."""
        new = NewEndpoint(name="main", protocol="vless", port=port)
        return self.data.write_now(endpoints.create, node, new, SYSTEM, self.now_ms).value.id

    def tunnel(self, node: NodeId, host: str | None = "vpn.example.org", port: int = 51_820) -> EndpointId:
        """Make a WireGuard endpoint on a node."""
        options = WireGuard(private_key=INTERFACE_KEY, addresses=("10.66.0.1/24", "fd00::1/64"))
        new = NewEndpoint(name="tunnel", protocol="wireguard", port=port, host=host, options=options)
        return self.data.write_now(endpoints.create, node, new, SYSTEM, self.now_ms).value.id

    def user(self, name: str, *where: EndpointId, manager: ManagerId | None = None) -> UserId:
        """Make a user on these endpoints."""
        uuid = f"00000000-0000-4000-8000-{abs(hash(name)) % 10**12:012d}"
        return self.data.write_now(
            users.create, NewUser(name=name, endpoints=where, manager=manager), uuid, SYSTEM, self.now_ms
        ).value.id

    def manager(self, name: str, parent: ManagerId | None = None, **fields: Any) -> ManagerId:  # noqa: ANN401 - as NewManager has them
        """Make a manager."""
        new = NewManager(name=name, parent=parent, **fields)
        return self.data.write_now(managers.create, new, SYSTEM, self.now_ms).value.id

    def manager_token(self, manager: ManagerId, password: str = PASSWORD) -> str:
        """Give a manager a login; returns a token of his."""
        hashed = passwords.hash_password(password)
        self.data.write_now(managers.set_password, manager, hashed, SYSTEM, self.now_ms)
        standing = self.data.read_now(managers.standing, manager)
        assert standing is not None
        return self.token(Role.MANAGER, manager, standing)

    async def until_waiting(self, polls: int) -> None:
        """Wait until so many polls wait."""
        await until(lambda: self.hub.waiting() == polls)


@contextlib.contextmanager
def opened(place: Path | Store) -> Iterator[Rig]:
    """A collector over this store, or over SQLite in this directory."""
    with asyncio.Runner() as runner:
        data = stores.of(place).open()
        hub = Hub()
        clock, tracker = Clock(now_ms=_wall_ms()), Tracker(window_s=WINDOW_S, penalty_s=PENALTY_S)
        present = Sessions(data, hub, tracker, now_ms=lambda: clock.now_ms, now_s=lambda: clock.now_s)
        made = main.assemble(data, hub, KEY, _JOINING, ZONE, present, Tunnels(dns=DNS))
        transport = httpx.ASGITransport(app=application.application(made, table.ROUTES))
        http = httpx.AsyncClient(transport=transport, base_url=URL, timeout=DEADLINE_S)
        try:
            yield Rig(
                runner=runner,
                data=data,
                hub=hub,
                parts=made,
                http=http,
                now_ms=_wall_ms(),
                tracker=tracker,
                clock=clock,
            )
        finally:
            hub.close()
            runner.run(http.aclose())
            data.close()


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop go on until the condition holds, within the deadline."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - the condition is whatever the test can see
            await asyncio.sleep(0)


async def together(*work: Awaitable[T]) -> list[T]:
    """Run these at once."""
    return list(await asyncio.gather(*work))


async def _bounded(work: Coroutine[Any, Any, T]) -> T:
    async with asyncio.timeout(DEADLINE_S * 3):
        return await work


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
