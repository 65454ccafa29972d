"""`base.Driver` for WireGuard: one interface an endpoint, each with a life of its own.

What always holds: an interface that lives and is as wanted is never touched for another one's sake; what one
cannot do, as when its process died, is said for it and done for the others.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from agent.core.counting import Meter, Reading
from agent.core.served import Served, Status
from agent.core.sessions import Session
from agent.drivers import base
from agent.drivers.wireguard import choice, making, options, peers, ports, register
from agent.drivers.wireguard.interface import Interface, by_endpoint
from shared import logs
from shared.messages import Account, Endpoint
from shared.names import EndpointId

LOGGER = logging.getLogger(__name__)

T = TypeVar("T")


class WireGuardDriver(base.Driver):
    """Drives all WireGuard of this node. Raises ValueError when a forced back end is not to be had."""

    name = "wireguard"
    protocols: frozenset[str] = frozenset({"wireguard"})

    def __init__(self, chosen: options.Options) -> None:
        self._options = chosen
        if chosen.backend == "kernel":
            choice.backend(chosen)
        #: Asked for when there is an endpoint to serve: a node without one is left alone.
        self._backend: peers.Backend | None = None
        self._interfaces: dict[EndpointId, Interface] = {}
        self._life = asyncio.Lock()
        self._changed = asyncio.Event()
        self._told: set[str] = set()
        self._last_words: list[Reading] = []
        self._started = False
        self.limitations: tuple[str, ...] = ()

    async def adopt(self, expected: Served) -> base.Adopted | None:
        """Take over the interfaces that an earlier agent left; None when it had some and all are gone.

        An agent that had none is followed with none: nothing was lost with it.
        """
        async with self._life:
            left = register.found(self._options.run_dir)
            for path in left:
                found = await making.adopt(self._options, path)
                if found is not None:
                    self._keep(found)
                else:
                    logs.event(LOGGER, logging.WARNING, "wireguard_gone", register=path.name)
            if self._interfaces:
                await self._choose()
            elif left:
                return None
            self._started = True
        for interface in self._interfaces.values():
            interface.recognise(expected.accounts)
            logs.event(LOGGER, logging.INFO, "wireguard_adopted", **interface.about())
        return base.Adopted(await self.served(), stale=any(map(self._is_stale, self._interfaces.values())))

    async def start(self, served: Served) -> None:
        """Serve exactly this: what lives and is as wanted stays, and its peers with their counters.

        Accounts that cannot be served are left out and logged. Raises DriverError when an endpoint cannot be
        served; the others are then.
        """
        refused: dict[EndpointId, str] = {}
        async with self._life:
            self._started = True
            for gone in [key for key in self._interfaces if key not in served.endpoints]:
                await self._remove(gone)
            for endpoint in served.endpoints.values():
                accounts = {m: a for m, a in served.accounts.items() if m.endpoint == endpoint.endpoint}
                try:
                    _log_refused(await self._bring(endpoint, accounts))
                except base.DriverError as error:
                    refused[endpoint.endpoint] = str(error)
        if refused:
            raise base.PartlyServedError(refused)

    async def stop(self) -> None:
        """Remove all interfaces, also those that an earlier agent left. They have been read."""
        async with self._life:
            self._started = False
            for endpoint in list(self._interfaces):
                await self._remove(endpoint, heard=True)
            self._last_words.clear()
            for path in register.found(self._options.run_dir):
                await making.clear(self._options, path.name.removesuffix(register.SUFFIX))

    async def leave(self) -> None:
        """Let go of all interfaces without ending them, for the next agent to adopt."""
        async with self._life:
            for interface in self._interfaces.values():
                if interface.daemon:
                    interface.daemon.close()
            self._interfaces.clear()

    async def obstacles(self, endpoints: Sequence[Endpoint]) -> dict[EndpointId, str]:
        """Ports that another program has, or another of these endpoints."""
        ours = {one.endpoint.port for one in self._interfaces.values()}
        return await asyncio.to_thread(ports.obstacles, endpoints, ours)

    async def check(self, endpoint: Endpoint) -> None:
        """See whether it could be an interface. Raises DriverError."""
        making.checked(endpoint)

    async def place(self, endpoint: Endpoint, accounts: Sequence[Account]) -> dict[Meter, str]:
        """One more interface with these peers; returns the refused. Raises DriverError and leaves nothing."""
        async with self._life:
            self._started = True
            return await self._bring(endpoint, {Meter(one.user, one.endpoint): one for one in accounts})

    async def withdraw(self, endpoint: EndpointId) -> None:
        """Remove the interface of an endpoint; what it counted last is in the next reading."""
        async with self._life:
            await self._remove(endpoint)

    async def add(self, accounts: Sequence[Account]) -> dict[Meter, str]:
        """Serve these too; what differs from what is served is changed, without a new handshake."""
        refused: dict[Meter, str] = {}
        for endpoint, theirs in by_endpoint(accounts).items():
            interface = self._interfaces.get(endpoint)
            if interface is None:
                reason = f"endpoint {endpoint} is not served on this node"
                refused |= {Meter(one.user, one.endpoint): reason for one in theirs}
            else:
                refused |= await asyncio.to_thread(interface.living().add, theirs)
        return refused

    async def block(self, meters: Sequence[Meter]) -> dict[Meter, str]:
        """Let nothing of these pass; sessions and counters stay."""
        failed: dict[Meter, str] = {}
        for endpoint, theirs in by_endpoint(meters).items():
            interface = self._interfaces.get(endpoint)
            if interface is None or not interface.lives:
                continue
            try:
                await asyncio.to_thread(interface.block, theirs)
            except base.CoreDownError:
                continue
            except base.DriverError as error:
                failed |= dict.fromkeys(theirs, str(error))
        return failed

    async def cut(self, meters: Sequence[Meter]) -> base.Cut:
        """There is nothing left to end of whoever is blocked; whoever is not is blocked now."""
        left = bool(await self.block(meters))
        for endpoint, theirs in by_endpoint(meters).items():
            interface = self._interfaces.get(endpoint)
            if interface is None or not interface.lives:
                continue
            try:
                await asyncio.to_thread(interface.tidy, theirs)
            except base.DriverError as error:
                logs.event(LOGGER, logging.ERROR, "wireguard_cut_failed", reason=str(error))
        return base.Cut(0, left=left)

    async def cut_all(self) -> base.Cut:
        """Block everybody."""
        everybody = [meter for one in self._interfaces.values() for meter in one.everybody()]
        return base.Cut(0, left=bool(await self.block(everybody)))

    async def read(self) -> Sequence[Reading]:
        """One reading for each interface that lives, after the last ones of those that were removed."""
        self._running()
        readings = await self._of_all(lambda interface: interface.reading())
        gone, self._last_words = self._last_words, []
        return [*gone, *readings]

    async def sessions(self) -> Sequence[Session]:
        """Who has a session now, from each address he was heard from."""
        self._running()
        return [one for found in await self._of_all(lambda interface: interface.sessions()) for one in found]

    async def intruders(self) -> dict[EndpointId, str]:
        """None ever: a UDP port that WireGuard has is nobody else's."""
        return {}

    async def served(self) -> Served:
        """What the interfaces themselves say. One that has lost its address or its NAT gets it back."""
        self._running()
        endpoints: dict[EndpointId, Endpoint] = {}
        accounts: dict[Meter, Account] = {}
        for endpoint, interface in list(self._interfaces.items()):
            try:
                found = await asyncio.to_thread(interface.accounts)
                await asyncio.to_thread(making.settle, interface)
            except base.DriverError as error:
                logs.event(
                    LOGGER, logging.WARNING, "wireguard_not_served", endpoint=endpoint, reason=str(error)
                )
                continue
            accounts |= found
            endpoints[endpoint] = interface.endpoint
        if endpoints:
            await asyncio.to_thread(making.watch, self._options)
        return Served(endpoints, accounts)

    async def status(self) -> Status:
        """Whether every interface is there and answers, within two seconds."""
        if not self._started:
            return Status(running=False, problem="WireGuard has not been started")
        problems, running = list[str](), True
        for endpoint, interface in list(self._interfaces.items()):
            try:
                await asyncio.to_thread(interface.living().device.ping)
            except base.CoreDownError as error:
                running = False
                problems.append(f"endpoint {endpoint}: {error}")
            except base.DriverError as error:
                problems.append(f"endpoint {endpoint}: {error}")
        version = choice.VERSIONS[self._backend] if self._backend else None
        return Status(running=running, version=version, problem="; ".join(problems) or None)

    async def exited(self) -> str:
        """Wait until the process of an interface ends by itself; returns which and why."""
        while True:
            self._changed.clear()
            for endpoint, interface in self._interfaces.items():
                daemon = interface.daemon
                if daemon and daemon.ended.is_set() and daemon.generation not in self._told:
                    self._told.add(daemon.generation)
                    return f"endpoint {endpoint}: {daemon.reason()}"
            await self._changed.wait()

    async def _bring(self, endpoint: Endpoint, accounts: Mapping[Meter, Account]) -> dict[Meter, str]:
        """Let the endpoint serve exactly these."""
        there, heard = self._interfaces.get(endpoint.endpoint), False
        if there is not None and there.endpoint == endpoint and not self._is_stale(there):
            try:
                await asyncio.to_thread(there.living().device.ping)
                return await asyncio.to_thread(there.make_exact, accounts)
            except base.DriverError as error:
                logs.event(LOGGER, logging.WARNING, "wireguard_replaced", **there.about(), reason=str(error))
                heard = True
        if there is not None:
            await self._remove(endpoint.endpoint, heard=heard)
        runs = self._backend or await self._choose()
        made, refused = await making.make(self._options, runs, endpoint, list(accounts.values()))
        self._keep(made)
        logs.event(LOGGER, logging.INFO, "wireguard_started", **made.about())
        return refused

    def _is_stale(self, interface: Interface) -> bool:
        """Whether the operator has chosen another back end since."""
        return self._options.backend not in ("auto", interface.device.backend)

    async def _choose(self) -> peers.Backend:
        self._backend = runs = await asyncio.to_thread(choice.backend, self._options)
        self.limitations = choice.limitations(self._options, runs)
        return runs

    def _keep(self, interface: Interface) -> None:
        self._interfaces[interface.endpoint.endpoint] = interface
        if interface.daemon:
            interface.daemon.tell(self._changed)
        self._changed.set()

    async def _remove(self, endpoint: EndpointId, *, heard: bool = False) -> None:
        interface = self._interfaces.pop(endpoint, None)
        if interface is None:
            return
        if interface.lives and not heard:
            try:
                self._last_words += await asyncio.to_thread(interface.last_words)
            except base.DriverError as error:
                logs.event(
                    LOGGER, logging.WARNING, "wireguard_silent", **interface.about(), reason=str(error)
                )
        await making.remove(interface)

    def _running(self) -> None:
        if not self._started:
            raise base.CoreDownError("WireGuard is not running")

    async def _of_all(self, ask: Callable[[Interface], T]) -> list[T]:
        """What those that live answer; raises when none does that should."""
        asked = list(self._interfaces.values())
        answers: list[T] = []
        failures: list[base.DriverError] = []
        for interface in asked:
            try:
                answers.append(await asyncio.to_thread(ask, interface.living()))
            except base.DriverError as error:
                failures.append(error)
        if failures and not answers:
            raise failures[0]
        return answers


def _log_refused(refused: Mapping[Meter, str]) -> None:
    for meter, reason in refused.items():
        logs.event(LOGGER, logging.WARNING, "wireguard_account_refused", **meter._asdict(), reason=reason)
