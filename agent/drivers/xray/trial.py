"""Tries endpoints in a throw-away Xray before the real one is touched, and learns from it what they become.

Xray's API wants an inbound in a form of its own, which only Xray can make of its JSON. So a second Xray reads
the JSON, listens on ports of the kernel's choice and is asked for its inbounds: that is the dry start and the
translation in one. What always holds: the throw-away Xray has no accounts, reports no connections, carries
none, and is gone when the trial is over.
"""

import asyncio
import contextlib
import json
import os
import secrets
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from agent.drivers import base, memfiles
from agent.drivers.xray import config, inbounds, labels, options, output, ports, process, rpc, streams
from agent.drivers.xray import xray_pb2 as pb
from shared import endpoints
from shared.messages import Endpoint
from shared.names import EndpointId

#: Long enough for a machine that is busy; a trial takes a fifth of a second.
DEADLINE_S = 15.0
#: A trial is not repeated before this, whatever came out of it.
REMEMBERED_S = 30.0
_SOCKET = "trial.sock"
#: Parts of `extra` that are tried one by one to find the one that Xray refuses.
_MAX_TRIALS = 12
_MAX_DEPTH = 4
_POLL_S = 0.005
#: Xray's statuses for a configuration that it refuses, and one that it cannot start (main/run.go).
_REFUSED, _NOT_STARTED = 23, 255
_HERE = "127.0.0.1"


class RefusedError(base.DriverError):
    """Xray does not take this configuration; the text has the words that Xray had for it, if any."""


class _NotStartedError(RefusedError):
    """Xray understands the configuration and could not do what it says."""


@dataclass(frozen=True)
class _Verdict:
    at_s: float
    inbound: pb.InboundHandler | None = None
    reason: str = ""


class Trials:
    """Trials of one node; remembers for a while what came out of them."""

    def __init__(self, chosen: options.Options) -> None:
        self._options = chosen
        self._turn = asyncio.Lock()
        self._verdicts: dict[str, _Verdict] = {}

    async def problems(self, wanted: Sequence[Endpoint]) -> dict[EndpointId, str]:
        """Why Xray would not take these, in sentences. Raises DriverError when that cannot be tried."""
        async with self._turn:
            unknown = [endpoint for endpoint in wanted if self._verdict(endpoint) is None]
            if len(unknown) > 1 and await self._all_good(unknown):
                return self._reasons(wanted)
            for endpoint in unknown:
                await self._judge(endpoint)
            return self._reasons(wanted)

    async def translated(self, endpoint: Endpoint) -> pb.InboundHandler:
        """The inbound as the API takes it, on no port yet. Raises DriverError with the reason."""
        async with self._turn:
            verdict = self._verdict(endpoint) or await self._judge(endpoint)
        if verdict.inbound is None:
            raise base.DriverError(verdict.reason)
        copy = pb.InboundHandler()
        copy.CopyFrom(verdict.inbound)
        return copy

    def _verdict(self, endpoint: Endpoint) -> _Verdict | None:
        now_s = time.monotonic()
        self._verdicts = {k: v for k, v in self._verdicts.items() if now_s - v.at_s < REMEMBERED_S}
        return self._verdicts.get(config.fingerprint(endpoint))

    def _reasons(self, wanted: Sequence[Endpoint]) -> dict[EndpointId, str]:
        found = {endpoint.endpoint: self._verdict(endpoint) for endpoint in wanted}
        return {key: verdict.reason for key, verdict in found.items() if verdict and verdict.reason}

    async def _all_good(self, wanted: Sequence[Endpoint]) -> bool:
        try:
            tried = await _tried(self._options, [_blank(endpoint) for endpoint in wanted])
        except RefusedError:
            return False
        for endpoint in wanted:
            inbound = tried[labels.tag(endpoint.endpoint)]
            self._verdicts[config.fingerprint(endpoint)] = _Verdict(time.monotonic(), inbound)
        return True

    async def _judge(self, endpoint: Endpoint) -> _Verdict:
        try:
            tried = await _tried(self._options, [_blank(endpoint)])
            verdict = _Verdict(time.monotonic(), tried[labels.tag(endpoint.endpoint)])
        except RefusedError as error:
            reason = f"endpoint {endpoint.endpoint}: {await self._explained(endpoint, str(error))}"
            verdict = _Verdict(time.monotonic(), reason=reason)
        self._verdicts[config.fingerprint(endpoint)] = verdict
        return verdict

    async def _explained(self, endpoint: Endpoint, said: str) -> str:
        """Which part Xray refuses, found by leaving parts out."""
        typed = msgspec.structs.replace(endpoint, extra=None)
        if endpoint.extra and await self._takes(_blank(typed)):
            return f"Xray does not take {await self._culprit(endpoint, endpoint.extra)}: {said}"
        for name, other in _variants(typed):
            if await self._takes(_blank(other)):
                return f"Xray does not take its {name}: {said}"
        return f"Xray does not take it: {said}"

    async def _culprit(self, endpoint: Endpoint, extra: Mapping[str, Any]) -> str:
        """The smallest part of `extra` without which Xray takes the rest."""
        path: tuple[str, ...] = ()
        here: Any = extra
        trials = _MAX_TRIALS
        while isinstance(here, Mapping) and len(path) < _MAX_DEPTH:
            for name in list(here):
                if trials <= 0:
                    break
                trials -= 1
                if await self._takes(_blank(endpoint, leave_out=(*path, name))):
                    path, here = (*path, name), here[name]
                    break
            else:
                break
            if trials <= 0:
                break
        return f"{'.'.join(path)!r} of extra" if path else "its extra"

    async def _takes(self, made: streams.Tree) -> bool:
        try:
            await _tried(self._options, [made])
        except RefusedError:
            return False
        return True


async def _tried(chosen: options.Options, made: Sequence[streams.Tree]) -> dict[str, pb.InboundHandler]:
    """Start an Xray with these inbounds and ask it for them, by tag. Raises RefusedError or DriverError."""
    process.prepare(chosen.run_dir)
    try:
        return await _once(chosen, made)
    except _NotStartedError:
        # One of its ports may have been taken by another program since it was chosen.
        return await _once(chosen, made)


async def _once(chosen: options.Options, made: Sequence[streams.Tree]) -> dict[str, pb.InboundHandler]:
    there = [inbound | {"listen": _HERE, "port": ports.free(_HERE)} for inbound in made]
    async with _started(chosen, there) as (child, out):
        await _begun(chosen, child, out)
        api = rpc.Api(chosen.run_dir / _SOCKET)
        try:
            await api.uptime_s(DEADLINE_S, wait=True)
            return {inbound.tag: inbound for inbound in await api.whole_inbounds()}
        finally:
            await api.close()


@contextlib.asynccontextmanager
async def _started(
    chosen: options.Options, made: Sequence[streams.Tree]
) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    api = chosen.run_dir / _SOCKET
    binary = [str(chosen.binary)] if chosen.binary else []
    whole = config.trial(chosen, str(api), made)
    with _files(
        memfiles.create("xray-trial", json.dumps(whole).encode()), memfiles.create("xray-trial-output")
    ) as (text, out):
        api.unlink(missing_ok=True)
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "agent.drivers.xray.alone", *binary),
            stdin=text,
            stdout=out,
            stderr=out,
            cwd="/",
            env=process.environment(chosen),
            start_new_session=True,
        )
        try:
            yield child, out
        finally:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()
            for left in (_SOCKET, _SOCKET + ".lock"):
                (chosen.run_dir / left).unlink(missing_ok=True)


async def _begun(chosen: options.Options, child: asyncio.subprocess.Process, out: int) -> None:
    """Wait for its API, which comes after its inbounds. Raises RefusedError when it has ended instead."""
    deadline_s = time.monotonic() + DEADLINE_S
    while not process.accepts(chosen.run_dir / _SOCKET):
        if child.returncode is not None:
            raise _failure(child.returncode, out)
        if time.monotonic() > deadline_s:
            raise base.DriverError(f"a throw-away Xray did not get ready within {DEADLINE_S:g} s")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(child.wait(), _POLL_S)


def _failure(status: int, out: int) -> base.DriverError:
    text = memfiles.read(out)
    if status in (_REFUSED, _NOT_STARTED):
        kind = RefusedError if status == _REFUSED else _NotStartedError
        return kind(output.failure(text) or "it does not say why")
    return base.DriverError(f"a throw-away Xray could not be tried: {output.reason(status, text)}")


@contextlib.contextmanager
def _files(*descriptors: int) -> Iterator[Sequence[int]]:
    try:
        yield descriptors
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _blank(endpoint: Endpoint, leave_out: tuple[str, ...] = ()) -> streams.Tree:
    """The inbound without accounts."""
    kept = msgspec.structs.replace(endpoint, extra=_pruned(endpoint.extra or {}, leave_out))
    return inbounds.build(kept, {}, secrets.token_bytes(32))


def _pruned(tree: Mapping[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    if not path:
        return dict(tree)
    name, *rest = path
    if not rest:
        return {key: value for key, value in tree.items() if key != name}
    return {key: _pruned(value, tuple(rest)) if key == name else value for key, value in tree.items()}


def _variants(endpoint: Endpoint) -> Iterator[tuple[str, Endpoint]]:
    """The endpoint without one of its parts, and what that part is called."""
    if not isinstance(endpoint.security, endpoints.Plain) and endpoint.protocol != "hysteria":
        yield "security", msgspec.structs.replace(endpoint, security=endpoints.Plain())
    if not isinstance(endpoint.transport, endpoints.Tcp):
        yield "transport", msgspec.structs.replace(endpoint, transport=endpoints.Tcp())
    if isinstance(endpoint.options, endpoints.Vless):
        yield "options", msgspec.structs.replace(endpoint, options=None)
