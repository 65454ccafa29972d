"""`base.Driver` for Xray: one host process with Xray in it, from its start or adoption to its end.

What always holds: a reading is named after the process that was asked, since every process gets a connection
of its own; an Xray that was told to end is never reported as having exited.
"""

import asyncio
import dataclasses
import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import NoReturn

from agent.core import counting
from agent.core.served import Served, Status
from agent.core.sessions import Session
from agent.drivers import base
from agent.drivers.xray import (
    binaries,
    checks,
    config,
    control,
    cores,
    counters,
    cutting,
    dialects,
    guard,
    labels,
    options,
    output,
    placing,
    ports,
    process,
    quiet,
    reach,
    rpc,
    runfile,
    sessions,
    trial,
)
from shared import logs
from shared.messages import Account, Endpoint
from shared.names import EndpointId

LOGGER = logging.getLogger(__name__)

#: Longer than the test of life has: what cannot be taken over is lost with all it counted.
_ADOPTION_S = 5.0
_LIFELESS = (
    "The core cannot change its users while it runs: whenever somebody comes or goes it is restarted, after "
    "a last reading, which ends everybody's connections."
)
_FENCED = "no agent was there for too long, so Xray cut everybody off and serves nobody until it is replaced"


class XrayDriver(base.Driver):
    """Drives one Xray on this node."""

    name = "xray"
    protocols = frozenset({"vless", "vmess", "trojan", "shadowsocks", "hysteria", "xray-wireguard"})

    def __init__(self, chosen: options.Options) -> None:
        self._options = chosen
        self._core: cores.Core | None = None
        self._trials = trial.Trials(chosen)
        self._life = asyncio.Lock()
        self._changed = asyncio.Event()
        self._problem = "Xray has not been started"
        self._guard = guard.Guard(chosen)
        self._admission, self._dialect, self._live = binaries.Admission(), dialects.XRAY, True
        self.limitations = self._guard.limitations({})

    async def adopt(self, expected: Served) -> base.Adopted | None:
        """Take over the Xray that an earlier agent left; None when none is left or it does not answer.

        Of endpoints and accounts that run as `expected` those are served; Xray does not tell all of them. One
        that runs under other options, was fenced, may not be run any more or cannot be asked what it serves,
        is taken over too, so that it can be read, but is stale. After None `status` tells what became of it.
        """
        async with self._life:
            await self._let_go()
            left = process.find(self._options.run_dir)
            if left is None:
                self._problem = _gone(runfile.read(self._options.run_dir))
                return None
            self._admit(binaries.running(left, self._options))
            api = process.connected(self._options, self._dialect)
            try:
                await api.uptime_s(_ADOPTION_S)
                fenced = await control.Control(self._options.control).fenced()
                served, right = await cores.found(api, left.run.places, expected)
            except base.DriverError as error:
                self._problem = f"the Xray that an earlier agent left cannot be taken over: {error}"
                logs.event(LOGGER, logging.WARNING, "xray_not_adopted", reason=str(error))
                await api.close()
                left.close()
                return None
            core = cores.made(self._options, left, api, served)
            self._take(core)
            await self._guard.adopted(core)
            self._limit()
        same = config.digest(self._options) == left.run.digest
        good = self._dialect.telling and not self._admission.judgement.refusal
        return base.Adopted(served, stale=fenced or not same or not right or not good)

    async def start(self, served: Served) -> None:
        """Start Xray serving exactly this; ends what runs already, ours or left over.

        Accounts that cannot be served are left out and logged: one bad row must not take a node down. Raises
        DriverError with the reason when Xray cannot start.
        """
        self._admit(await binaries.admit(self._options))
        await self._permit()
        beyond = reach.beyond(served.endpoints.values(), self._dialect)
        if wrong := [*checks.problems(served.endpoints), *beyond.values()]:
            raise base.DriverError("; ".join(wrong))
        exact = cores.exact(served)
        async with self._life:
            await self._end()
            text = config.text(exact, self._options, secrets.token_bytes(32), self._dialect)
            try:
                running, api = await process.start(self._options, exact.endpoints, text, self._dialect)
                await self._prove(running, api, exact)
            except base.DriverError as error:
                self._problem = await self._explained(exact, str(error))
                raise base.DriverError(self._problem) from error
            started = cores.made(self._options, running, api, exact)
            self._take(started)
            await started.note(exact.endpoints.values())
            await self._guard.began(started)
            self._limit()
        logs.event(LOGGER, logging.INFO, "xray_started", generation=running.run.generation)

    async def stop(self) -> None:
        """End Xray, also one that an earlier agent left, and wait until it is gone."""
        async with self._life:
            await self._end()
            if left_over := process.find(self._options.run_dir):
                try:
                    await left_over.end()
                finally:
                    left_over.close()
            await self._guard.ended()

    async def leave(self) -> None:
        """Let go of Xray without ending it, for the next agent to adopt."""
        async with self._life:
            await self._let_go()

    async def obstacles(self, endpoints: Sequence[Endpoint]) -> dict[EndpointId, str]:
        """Certificates that cannot be had, ports that another program has, and what is beyond another core.

        A port that the running Xray has is not in the way: an endpoint closes before another opens.
        """
        if self._core is None:
            self._admit(await binaries.admit(self._options))
        beyond = reach.beyond(endpoints, self._dialect)
        ours = list(self._core.roll.endpoints.values()) if self._core else []
        return await asyncio.to_thread(ports.obstacles, endpoints, ours) | beyond

    async def check(self, endpoint: Endpoint) -> None:
        """See whether Xray would take this endpoint: it is tried in a throw-away one."""
        if wrong := checks.alone(endpoint):
            raise base.DriverError("; ".join(wrong))
        if not self._dialect.telling:
            await self._tested(endpoint)
            return
        try:
            await self._trials.translated(endpoint)
        except base.RestartNeededError:
            return  # an Xray that cannot be asked has taken it all the same

    async def place(self, endpoint: Endpoint, accounts: Sequence[Account]) -> dict[counting.Meter, str]:
        """Serve one more endpoint and these of it; what is served there already must be the same."""
        core = self._changeable()
        if not self._dialect.telling:
            raise base.RestartNeededError(f"endpoint {endpoint.endpoint} is new to the running core")
        there = core.roll.endpoints.get(endpoint.endpoint)
        if there is not None and labels.tag(endpoint.endpoint) in await core.api.inbounds():
            if there == endpoint:
                return await self._guard.joined(core, accounts, await core.serving.add(accounts))
            raise base.DriverError(f"endpoint {endpoint.endpoint} is still served otherwise")
        core.roll.close(endpoint.endpoint)
        wanted = {**core.roll.endpoints, endpoint.endpoint: endpoint}
        wrong = checks.problems(wanted) or await asyncio.to_thread(ports.taken, [endpoint])
        if wrong:
            raise base.DriverError("; ".join(wrong))
        refused = await placing.place(core, await self._trials.translated(endpoint), endpoint, accounts)
        await self._guard.watch(core)
        self._limit()
        return await self._guard.joined(core, accounts, refused)

    async def withdraw(self, endpoint: EndpointId) -> None:
        """Stop listening there for good; its connections live on."""
        core = self._running()
        await placing.withdraw(core, endpoint)
        await self._guard.watch(core)
        self._limit()

    async def add(self, accounts: Sequence[Account]) -> dict[counting.Meter, str]:
        """Serve these too; one whose UUID differs from the one served is replaced."""
        core = self._changeable()
        refused = await self._guard.joined(core, accounts, await core.serving.add(accounts))
        self._limit()
        return refused

    async def block(self, meters: Sequence[counting.Meter]) -> dict[counting.Meter, str]:
        """Refuse new connections of these; their counters stay."""
        core = self._changeable()
        self._guard.leaving(core, meters)
        return await core.serving.block(meters)

    async def cut(self, meters: Sequence[counting.Meter]) -> base.Cut:
        """End the live connections of these and of nobody else."""
        cut = await self._cutting(lambda cutter: cutter.cut(meters))
        if core := self._core:
            await self._guard.left(core, meters)
            self._limit()
        return cut

    async def cut_all(self) -> base.Cut:
        """Close every listener for good and end every connection: only `read` and `stop` come after this.

        Of an Xray that does not answer the connections are ended all the same.
        """
        return await self._cutting(lambda cutter: cutter.cut_all())

    async def read(self) -> Sequence[counting.Reading]:
        """Read all counters, without reset."""
        core = self._running()
        for direction in counters.DIRECTIONS:
            core.known.take(direction, await core.api.counters(counters.pattern(direction)))
        return [counting.Reading(core.process.run.generation, core.known.counts)]

    async def sessions(self) -> Sequence[Session]:
        """Who is connected now, by what the host heard and the kernel still has."""
        core = self._running()
        return await sessions.alive(core.host, core.ports(), core.api)

    async def intruders(self) -> dict[EndpointId, str]:
        """Ports on which another program has begun to listen beside Xray, which shares them."""
        core = self._running()
        try:
            return await asyncio.to_thread(core.listeners.found, core.ports(), core.process.run.pid)
        except OSError as error:
            raise base.DriverError(f"the kernel does not list listeners: {error.strerror}") from None

    async def served(self) -> Served:
        """What Xray itself says it serves."""
        core = self._running()
        await self._guard.mend(core)
        self._limit()
        return await core.serving.served()

    async def status(self) -> Status:
        """Whether Xray and its host answer, within a second and two, and serve."""
        core = self._core
        if core is None:
            return Status(running=False, problem=self._problem)
        if core.process.ended.is_set():
            return Status(running=False, problem=core.process.reason())
        version = output.version(core.process.output())
        try:
            await core.api.uptime_s()
            fenced = await core.host.fenced()
        except base.DriverError as error:
            return Status(running=True, version=version, problem=str(error))
        return Status(running=True, version=version, problem=_FENCED if fenced else None)

    async def exited(self) -> str:
        """Wait until a running Xray ends by itself; returns the cause. Waits for one to run if none does."""
        while True:
            core = self._core
            self._changed.clear()
            if core is None:
                await self._changed.wait()
                continue
            await core.process.ended.wait()
            if self._core is core:
                async with self._life:
                    if self._core is core:
                        self._problem = core.process.reason()
                        await self._let_go()
                        return self._problem

    async def _explained(self, served: Served, said: str) -> str:
        """Why it did not start, in better words than it had, if a trial finds some."""
        if not self._dialect.telling:
            return said
        try:
            found = await self._trials.problems(list(served.endpoints.values()))
        except base.DriverError:
            return said
        return f"{said}; {'; '.join(found.values())}" if found else said

    def _take(self, core: cores.Core) -> None:
        self._core = core
        self._changed.set()

    def _changeable(self) -> cores.Core:
        """The core whose accounts are to be changed. Raises CoreDownError or RestartNeededError."""
        core = self._running()
        if not self._live:
            raise base.RestartNeededError("the core is too old to change its users while it runs")
        return core

    def _admit(self, admission: binaries.Admission) -> None:
        self._admission, self._dialect = admission, admission.dialect
        self._limit()

    def _limit(self) -> None:
        """Say what cannot be done here, as far as it is known now."""
        lifeless = () if self._live else (_LIFELESS,)
        always = self._guard.limitations(self._core.ways() if self._core else {})
        self.limitations = (*always, *self._admission.limitations, *lifeless)

    async def _permit(self) -> None:
        """See that the core may be run; one that may not does not go on either. Raises DriverError."""
        if refusal := self._admission.judgement.refusal:
            async with self._life:
                await self._end()
                self._problem = refusal
            raise base.DriverError(refusal)

    async def _prove(self, running: process.Process, api: rpc.Api, exact: Served) -> None:
        """Look at what has started: the Python package tells its version only now, V2Ray if it is live."""
        try:
            if self._options.binary is None:
                self._admit(await binaries.introduced(running, self._options))
            if refusal := self._admission.judgement.refusal:
                _refuse(refusal)
            if isinstance(api, quiet.QuietApi):
                api.remember(exact)
                self._live = await api.live()
                self._admit(self._admission)
        except BaseException:
            await api.close()
            await running.end()
            running.close()
            raise

    async def _tested(self, endpoint: Endpoint) -> None:
        alone = Served({endpoint.endpoint: endpoint})
        text = config.text(alone, self._options, bytes(32), self._dialect)
        if reason := await binaries.tested(self._options, text):
            raise base.DriverError(f"endpoint {endpoint.endpoint}: {self._dialect.core} refuses it: {reason}")

    def _running(self) -> cores.Core:
        if self._core is None or self._core.process.ended.is_set():
            raise base.CoreDownError("Xray is not running")
        return self._core

    async def _cutting(self, act: Callable[[cutting.Cutter], Awaitable[base.Cut]]) -> base.Cut:
        core = self._core
        if core is None or core.process.ended.is_set():
            return base.Cut(0)  # its connections ended with it
        if self._guard.refusal:
            return base.Cut(0, left=True)
        cutter = cutting.Cutter(core.api, core.host, core.ways(), self._guard.datagrams)
        try:
            cut = await act(cutter)
            left = cut.left or (not self._dialect.telling and await quiet.unnamed(core.host, core.ports()))
            return dataclasses.replace(cut, left=left)
        except base.CoreDownError:
            return base.Cut(0)
        except (base.DriverError, OSError) as error:
            logs.event(LOGGER, logging.ERROR, "xray_cut_failed", reason=str(error))
            return base.Cut(0, left=True)
        finally:
            self._guard.sharing |= cutter.sharing

    async def _end(self) -> None:
        core, self._core = self._core, None
        if core:
            await core.api.close()
            try:
                await core.process.end()
            finally:
                core.process.close()
            self._problem = "Xray was stopped"

    async def _let_go(self) -> None:
        core, self._core = self._core, None
        if core:
            await core.api.close()
            core.process.close()


def _refuse(reason: str) -> NoReturn:
    raise base.DriverError(reason)


def _gone(run: runfile.Run | None) -> str:
    if run is None:
        return "Xray has not been started"
    return f"the Xray that an earlier agent started, {run.generation}, is gone"
