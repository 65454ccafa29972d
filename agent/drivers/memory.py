"""A driver without a program, for tests of what drives drivers.

What always holds: it keeps every promise of `base.Driver` unless a test has asked for a fault. Counters are
those of a generation: `crash` ends it with everything that was not read.
"""

import asyncio
import itertools
from collections import deque
from collections.abc import Sequence

from agent.core import counting
from agent.core.served import Served, Status
from agent.core.sessions import Address, Session
from agent.drivers import base
from shared.messages import Account, Endpoint
from shared.names import EndpointId


class MemoryDriver(base.Driver):
    """`traffic` makes bytes flow, `crash` ends it, `fail` makes the next call of a kind fail.

    `hanging` makes every call fail as one does whose deadline has passed; `gate`, when set, holds every call
    until the event is set, so that a test can do something in between.
    """

    limitations: tuple[str, ...] = ()
    name = "memory"
    protocols: frozenset[str] = frozenset({"vless"})

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.connections: dict[counting.Meter, int] = {}
        self.homes: dict[counting.Meter, set[Address]] = {}
        self.hanging = False
        self.taken_ports: set[int] = set()
        self.shared_ports: set[int] = set()
        self.source = ""
        self.gate: asyncio.Event | None = None
        self._generations = (f"memory-{number}" for number in itertools.count(1))
        self._generation: str | None = None
        self._served = Served()
        self._counts: dict[counting.Meter, counting.Count] = {}
        self._failures: dict[str, deque[Exception]] = {}
        self._deaths: asyncio.Queue[str] = asyncio.Queue()

    # --- what a test does to it ---

    def fail(self, call: str, *errors: Exception) -> None:
        """Make the next calls of this method raise these, one each."""
        self._failures.setdefault(call, deque()).extend(errors)

    def traffic(self, meter: counting.Meter, up: int = 0, down: int = 0) -> bool:
        """Move bytes of a user, over a new connection if he may have one; False when nothing moved."""
        if self._generation is None:
            return False
        if not self.connections.get(meter):
            if meter not in self._served.accounts:
                return False
            self.connections[meter] = 1
        before = self._counts.get(meter, counting.Count(0, 0))
        self._counts[meter] = counting.Count(before.up + up, before.down + down)
        return True

    def connect(self, meter: counting.Meter, *addresses: Address) -> bool:
        """Connect a user from these addresses; False when he is refused."""
        served = self._generation is not None and meter in self._served.accounts
        if served:
            self.connections[meter] = self.connections.get(meter, 0) + len(addresses)
            self.homes.setdefault(meter, set()).update(addresses)
        return served

    def crash(self, reason: str = "the core was ended by signal 9") -> None:
        """End the core without having been told to."""
        if self._generation is not None:
            self._forget()
            self._deaths.put_nowait(reason)

    def foreign_change(self, served: Served) -> None:
        """Let somebody else change what the core serves."""
        self._served = served

    # --- what the loops do with it ---

    async def adopt(self, _expected: Served) -> base.Adopted | None:
        """What runs already, as an agent that restarts finds it."""
        await self._called("adopt")
        return base.Adopted(self._served) if self._generation else None

    async def start(self, served: Served) -> None:
        """Begin a new generation, which does not hang."""
        await self._called("start")
        self._forget()
        self.hanging = False
        self._generation = next(self._generations)
        self._served = Served(endpoints=dict(served.endpoints), accounts=dict(served.accounts))

    async def stop(self) -> None:
        """End the generation."""
        await self._called("stop")
        self._forget()

    async def obstacles(self, endpoints: Sequence[Endpoint]) -> dict[EndpointId, str]:
        """Those whose port a test has taken."""
        return {e.endpoint: f"port {e.port} is taken" for e in endpoints if e.port in self.taken_ports}

    async def check(self, endpoint: Endpoint) -> None:
        """Refuse those whose port is none."""
        await self._called("check")
        if endpoint.port == 0:
            raise base.DriverError("port 0 cannot be listened on")

    async def place(self, endpoint: Endpoint, accounts: Sequence[Account]) -> dict[counting.Meter, str]:
        """Serve one more endpoint and these of it."""
        await self._called("place")
        self._running()
        endpoints = {**self._served.endpoints, endpoint.endpoint: endpoint}
        self._served = Served(endpoints=endpoints, accounts=self._served.accounts)
        return await self.add(accounts) if accounts else {}

    async def withdraw(self, endpoint: EndpointId) -> None:
        """Serve an endpoint no longer; live connections stay."""
        await self._called("withdraw")
        self._running()
        endpoints = {key: one for key, one in self._served.endpoints.items() if key != endpoint}
        accounts = {m: one for m, one in self._served.accounts.items() if m.endpoint != endpoint}
        self._served = Served(endpoints=endpoints, accounts=accounts)

    async def add(self, accounts: Sequence[Account]) -> dict[counting.Meter, str]:
        """Serve these; refuses those of endpoints that are not served."""
        await self._called("add")
        self._running()
        refused: dict[counting.Meter, str] = {}
        added = dict(self._served.accounts)
        for account in accounts:
            meter = counting.Meter(account.user, account.endpoint)
            if account.endpoint in self._served.endpoints:
                added[meter] = account
            else:
                refused[meter] = f"endpoint {account.endpoint} is not served on this node"
        self._served = Served(endpoints=self._served.endpoints, accounts=added)
        return refused

    async def block(self, meters: Sequence[counting.Meter]) -> dict[counting.Meter, str]:
        """Refuse new connections of these; live ones stay, and so do counters."""
        await self._called("block")
        self._running()
        left = {meter: account for meter, account in self._served.accounts.items() if meter not in meters}
        self._served = Served(endpoints=self._served.endpoints, accounts=left)
        return {}

    async def cut(self, meters: Sequence[counting.Meter]) -> base.Cut:
        """End the connections of these."""
        await self._called("cut")
        for meter in meters:
            self.homes.pop(meter, None)
        return base.Cut(sum(self.connections.pop(meter, 0) for meter in meters))

    async def cut_all(self) -> base.Cut:
        """End all connections and let nobody come back."""
        await self._called("cut_all")
        ended = sum(self.connections.values())
        self._hang_up()
        self._served = Served()
        return base.Cut(ended)

    async def read(self) -> Sequence[counting.Reading]:
        """All counters of this generation."""
        await self._called("read")
        return [counting.Reading(self._running(), dict(self._counts), self.source)]

    async def sessions(self) -> Sequence[Session]:
        """Those whom a test has connected and nobody has cut."""
        await self._called("sessions")
        self._running()
        alive = [(meter, home) for meter in self.connections for home in self.homes.get(meter, ())]
        return [Session(meter.user, meter.endpoint, home) for meter, home in alive]

    async def intruders(self) -> dict[EndpointId, str]:
        """Those endpoints whose port a test has let another share."""
        return {
            key: f"port {one.port} is shared"
            for key, one in self._served.endpoints.items()
            if one.port in self.shared_ports
        }

    async def served(self) -> Served:
        """What the core serves."""
        await self._called("served")
        self._running()
        return self._served

    async def status(self) -> Status:
        """How the core is; one that hangs runs and has a problem."""
        self.calls.append("status")
        if self._generation is None:
            return Status(running=False, problem="the core is not running")
        problem = "the core does not answer" if self.hanging else None
        return Status(running=True, version="memory", problem=problem)

    async def exited(self) -> str:
        """Wait for a crash."""
        return await self._deaths.get()

    async def _called(self, call: str) -> None:
        self.calls.append(call)
        if self.gate:
            await self.gate.wait()
        if self.hanging and call not in ("start", "stop"):
            raise base.DriverError("the core did not answer within 10 s")
        if self._failures.get(call):
            raise self._failures[call].popleft()

    def _running(self) -> str:
        if self._generation is None:
            raise base.CoreDownError("the core is not running")
        return self._generation

    def _forget(self) -> None:
        self._generation = None
        self._served = Served()
        self._counts.clear()
        self._hang_up()

    def _hang_up(self) -> None:
        self.connections.clear()
        self.homes.clear()
