"""Makes interfaces, finds those of an earlier agent, and removes them with all that belongs to them.

What always holds: an interface is in the register before it serves anybody, so none is left behind; making
one either ends with it serving, or leaves nothing and says why; one is taken over only when it is exactly the
one that was written down, since its counters go on.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from agent.core.counting import Meter
from agent.drivers import base
from agent.drivers.wireguard import (
    checks,
    daemon,
    guard,
    kernel,
    network,
    options,
    peers,
    register,
    userspace,
)
from agent.drivers.wireguard.interface import Interface
from shared import endpoints, logs
from shared.messages import Account, Endpoint

LOGGER = logging.getLogger(__name__)

_LINGER_S = 1.0
_LOOK_S = 0.01


async def make(
    chosen: options.Options, backend: peers.Backend, endpoint: Endpoint, accounts: Sequence[Account]
) -> tuple[Interface, dict[Meter, str]]:
    """Make an interface that serves these; returns the accounts it refuses too. Raises DriverError."""
    wanted = checked(endpoint)
    name = chosen.interface(endpoint.endpoint)
    await clear(chosen, name)
    made = await _bare(chosen, backend, name, endpoint)
    try:
        refused = await asyncio.to_thread(_furnish, made, wanted, accounts)
    except BaseException:
        await remove(made)
        raise
    await asyncio.to_thread(watch, chosen)
    return made, refused


def checked(endpoint: Endpoint) -> checks.Link:
    """What an endpoint asks for. Raises DriverError with what is wrong with it."""
    try:
        return checks.link(endpoint)
    except ValueError as wrong:
        raise base.DriverError(f"endpoint {endpoint.endpoint} cannot be served: {wrong}") from None


async def adopt(chosen: options.Options, path: Path) -> Interface | None:
    """Take over what a register is of; None when that is gone, or is not what was written down."""
    run = register.run_of(path)
    if run is None:
        return None
    try:
        device, running = await _running(run)
        if device is None:
            return None
        state = await asyncio.to_thread(device.state)
    except base.DriverError as error:
        logs.event(LOGGER, logging.WARNING, "wireguard_not_adopted", interface=run.name, reason=str(error))
        return None
    endpoint = _with_key(run.endpoint, state.private_key)
    kept = register.restore(path, endpoint.endpoint, dict(state.peers), time.monotonic())
    found = Interface(endpoint, device, register.Register(path, run), daemon=running, kept=kept)
    try:
        await asyncio.to_thread(_take_over, chosen, found)
    except base.DriverError as error:
        logs.event(LOGGER, logging.WARNING, "wireguard_not_adopted", interface=run.name, reason=str(error))
        if running:
            running.close()
        return None
    return found


async def _settled(name: str) -> network.Found | None:
    """What is there under a name; the kernel is given a moment to remove what a dead daemon had."""
    deadline_s = time.monotonic() + _LINGER_S
    while True:
        there = await asyncio.to_thread(network.link, name)
        if there is None or there.kind != "tun" or time.monotonic() > deadline_s:
            return there
        await asyncio.sleep(_LOOK_S)


def _take_over(chosen: options.Options, found: Interface) -> None:
    """Let it serve on; of one that was taken down whoever may be served must be let in anew."""
    marked = guard.mark(chosen.run_dir, found.name)
    if marked.exists():
        found.block(found.everybody())
    found.restore_limits()
    settle(found)
    marked.unlink(missing_ok=True)
    watch(chosen)


def watch(chosen: options.Options) -> None:
    """Have a guard take interfaces down when no agent is left."""
    if chosen.lock_file is not None and not guard.runs(chosen.run_dir):
        guard.start(chosen.run_dir, chosen.lock_file, chosen.fence_s)


async def remove(interface: Interface) -> None:
    """Remove an interface with its peers, its counters and its table. Raises DriverError when it stays."""
    if interface.daemon is not None:
        await interface.daemon.end()
        interface.daemon.close()
        await asyncio.to_thread(_sweep, interface.name)
    await asyncio.to_thread(_take_down, interface.name)
    await asyncio.to_thread(interface.forget)


async def clear(chosen: options.Options, name: str) -> None:
    """Remove what an earlier agent left under this name. Raises DriverError when it is somebody else's."""
    path = chosen.run_dir / f"{name}{register.SUFFIX}"
    run = register.run_of(path)
    left = daemon.find(run.pid, run.started) if run and run.pid else None
    left = left or daemon.orphan(_socket(name), name)
    if left is not None:
        try:
            await left.end()
        finally:
            left.close()
        await asyncio.to_thread(_sweep, name)
    there = await _settled(name)
    if there is not None and not there.alias.startswith(kernel.ALIAS):
        raise base.DriverError(
            f"another program has made the interface {name}: remove it, or choose a prefix"
        )
    await asyncio.to_thread(_take_down, name)
    path.unlink(missing_ok=True)
    guard.mark(chosen.run_dir, name).unlink(missing_ok=True)


async def _bare(chosen: options.Options, backend: peers.Backend, name: str, endpoint: Endpoint) -> Interface:
    """An interface that is there, and in the register, and does nothing yet."""
    path = chosen.run_dir / f"{name}{register.SUFFIX}"
    await asyncio.to_thread(_prepare, chosen.run_dir)
    shown = _with_key(endpoint, "")
    if backend == "kernel":
        index, generation = await asyncio.to_thread(kernel.create, name)
        run = register.Run(backend=backend, name=name, generation=generation, endpoint=shown, index=index)
        made = Interface(endpoint, kernel.Kernel(name, generation), register.Register(path, run))
    else:
        running = await daemon.start(chosen.binary, name, _socket(name))
        run = register.Run(
            backend=backend,
            name=name,
            generation=running.generation,
            endpoint=shown,
            pid=running.pid,
            started=running.started,
        )
        device = userspace.Userspace(name, _socket(name), running.generation)
        made = Interface(endpoint, device, register.Register(path, run), daemon=running)
    made.write()
    return made


def _furnish(made: Interface, wanted: checks.Link, accounts: Sequence[Account]) -> dict[Meter, str]:
    made.device.configure(wanted.private_key, wanted.port)
    refused = made.add(accounts)  # before it is up, which is faster by a third
    settle(made)
    return refused


def settle(made: Interface) -> None:
    """See to it that packets pass: addresses, forwarding, masquerading."""
    network.set_up(made.name, made.link)
    network.masquerade(made.name, made.link)
    for switched in network.forward(made.link):
        logs.event(LOGGER, logging.WARNING, "forwarding_switched_on", setting=switched, interface=made.name)


async def _running(run: register.Run) -> tuple[peers.Device | None, daemon.Daemon | None]:
    if run.backend == "kernel":
        there = await asyncio.to_thread(network.link, run.name)
        same = there is not None and (there.index, there.alias) == (run.index, kernel.ALIAS + run.generation)
        return kernel.Kernel(run.name, run.generation) if same else None, None
    found = daemon.find(run.pid, run.started)
    if found is None:
        return None, None
    device = userspace.Userspace(run.name, _socket(run.name), run.generation)
    try:
        await asyncio.to_thread(device.ping)
    except BaseException:
        found.close()
        raise
    return device, found


def _with_key(endpoint: Endpoint, private_key: str) -> Endpoint:
    if not isinstance(endpoint.options, endpoints.WireGuard):
        return endpoint
    changed = msgspec.structs.replace(endpoint.options, private_key=private_key)
    return msgspec.structs.replace(endpoint, options=changed)


def _prepare(run_dir: Path) -> None:
    try:
        run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise base.DriverError(f"the run directory {run_dir} cannot be made: {error.strerror}") from error


def _socket(name: str) -> Path:
    return options.SOCKETS / f"{name}.sock"


def _sweep(name: str) -> None:
    """A daemon that was killed leaves its socket."""
    _socket(name).unlink(missing_ok=True)


def _take_down(name: str) -> None:
    network.unmasquerade(name)
    network.delete(name)
    network.delete(checks.mirror_name(name))
