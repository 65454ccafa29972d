"""Starts, finds and ends the host process that holds Xray.

What always holds: a process is known by pid and start time and held by a pidfd, so no signal ever hits
another one; before a start our own left-over host is gone and the ports are free; a start either ends with
Xray answering and listening on every port, or leaves nothing running and says why.
"""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from agent.drivers import base, held, memfiles, pids
from agent.drivers.xray import (
    checks,
    config,
    dialects,
    oomkills,
    options,
    output,
    ports,
    quiet,
    rpc,
    runfile,
    sockets,
)
from shared.messages import Endpoint
from shared.names import EndpointId

START_DEADLINE_S = 10.0
#: Fifty thousand accounts of Trojan, five megabytes, take eight seconds on a machine that does nothing else.
_SLOW_BYTES_PER_S = 250_000
_TERM_S = 1.0
_POLL_S = 0.005
_ASK_S = 0.5
# Neither of Xray's own variables for more configuration is let through.
_KEPT_ENVIRONMENT = (
    "XRAY_LOCATION_ASSET",
    "XRAY_LOCATION_CERT",
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TZ",
    "LD_LIBRARY_PATH",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
)


class Process(held.Held):
    """A running host; `ended` is set when it is gone, or no longer watched."""

    def __init__(self, run: runfile.Run, pidfd: int, output_fd: int | None) -> None:
        super().__init__(run.pid, pidfd, output_fd, called="Xray", term_s=_TERM_S)
        self.run = run
        self._kills = oomkills.Kills(run.pid)
        self._memory: str | None = None

    def reason(self) -> str:
        """Why it ended, in words."""
        return output.reason(self.status, self.output(), core=self.run.core, memory=self._memory)

    def _gone(self) -> None:
        self._memory = self._kills.told()
        super()._gone()


def find(run_dir: Path) -> Process | None:
    """The host that an earlier agent left running, if there is one."""
    run = runfile.read(run_dir)
    found = pids.hold(run.pid, run.started) if run else None
    return Process(run, *found) if run and found else None


async def start(
    chosen: options.Options,
    endpoints: Mapping[EndpointId, Endpoint],
    text: str,
    dialect: dialects.Dialect = dialects.XRAY,
) -> tuple[Process, rpc.Api]:
    """Start a host whose Xray has this configuration. Raises DriverError with the reason when it cannot."""
    prepare(chosen.run_dir)
    if left_over := find(chosen.run_dir):
        try:
            await left_over.end()
        finally:
            left_over.close()
    if problems := await asyncio.to_thread(ports.taken, endpoints.values()):
        raise base.DriverError("; ".join(problems))
    process = await asyncio.to_thread(_spawn, chosen, config.places(endpoints), text, dialect.core)
    running = Process(*process)
    api = connected(chosen, dialect)
    try:
        await _ready(running, api, chosen, endpoints, patience_s(text))
    except BaseException:
        await api.close()
        await running.end()
        running.close()
        raise
    return running, api


def patience_s(text: str) -> float:
    """How long a start with this configuration may take: it grows with the accounts in it."""
    return START_DEADLINE_S + len(text) / _SLOW_BYTES_PER_S


def connected(chosen: options.Options, dialect: dialects.Dialect) -> rpc.Api:
    """A connection to the core of this run directory."""
    return rpc.Api(chosen.api) if dialect.telling else quiet.QuietApi(chosen.api, dialect)


def prepare(run_dir: Path) -> None:
    """Make the run directory, open to its owner only. Raises DriverError when that is not possible.

    One that holds something of others is left as it is: closing a system's directory would break the system.
    """
    try:
        run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if run_dir.stat().st_mode & 0o077:
            if any(run_dir.iterdir()):
                reason = "is open to others and not empty: choose a directory of its own"
                raise base.DriverError(f"the run directory {run_dir} {reason}")
            run_dir.chmod(0o700)
    except OSError as error:
        raise base.DriverError(f"the run directory {run_dir} cannot be made: {error.strerror}") from error


def environment(chosen: options.Options) -> dict[str, str]:
    """What the host may know of our environment: no secret of the agent's."""
    kept = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
    root = str(Path(__file__).resolve().parents[3])
    splice = {} if chosen.splice else {"XRAY_BUF_SPLICE": "disable"}
    return kept | splice | {"PYTHONPATH": root, "MALLOC_ARENA_MAX": "2"}


def _spawn(
    chosen: options.Options, places: tuple[runfile.Place, ...], text: str, core: str
) -> tuple[runfile.Run, int, int]:
    binary = str(chosen.binary) if chosen.binary else None
    digest = config.digest(chosen)
    public = tuple(place._replace(fingerprint="") for place in places)
    directories = (str(chosen.run_dir), str(chosen.lock_file))
    spec = runfile.Spec(*directories, chosen.fence_s, binary, digest, public, core)
    config_fd = memfiles.create("xray-config", text.encode())
    output_fd = memfiles.create("xray-output")
    try:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "agent.drivers.xray.host", runfile.encode_spec(spec)],
            stdin=config_fd,
            stdout=output_fd,
            stderr=output_fd,
            cwd="/",
            env=environment(chosen),
            start_new_session=True,
        )
    except OSError as error:
        os.close(output_fd)
        raise base.DriverError(f"the host of Xray cannot be started: {error.strerror}") from error
    finally:
        os.close(config_fd)
    child.returncode = 0  # it is watched and reaped through the pidfd, and may outlive us: nothing for Popen
    started = pids.start_time(child.pid) or 0
    run = runfile.Run(child.pid, started, pids.generation(child.pid, started), digest, places, core)
    return run, os.pidfd_open(child.pid), output_fd


async def _ready(
    process: Process,
    api: rpc.Api,
    chosen: options.Options,
    endpoints: Mapping[EndpointId, Endpoint],
    within_s: float,
) -> None:
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + within_s
    while not await _serving(api, chosen, endpoints, deadline_s - loop.time()):
        if process.ended.is_set():
            busy = await asyncio.to_thread(ports.taken, endpoints.values())
            raise base.DriverError("; ".join([process.reason(), *busy]))
        if loop.time() >= deadline_s:
            raise base.DriverError(f"Xray did not get ready within {within_s:.0f} s")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.ended.wait(), _POLL_S)


async def _serving(
    api: rpc.Api, chosen: options.Options, endpoints: Mapping[EndpointId, Endpoint], left_s: float
) -> bool:
    if left_s <= 0 or not await asyncio.to_thread(accepts, chosen.api):
        return False
    try:
        await api.uptime_s(min(left_s, _ASK_S), wait=True)
    except base.DriverError:
        return False
    # Listeners are opened in any order, the API's perhaps first.
    return await asyncio.to_thread(lambda: all(map(_listens, endpoints.values())))


def _listens(endpoint: Endpoint) -> bool:
    """Whether an endpoint is there; its address was free before, so whoever has it now is Xray."""
    udp = "udp" not in checks.networks(endpoint) or ports.used(endpoint.listen, endpoint.port, "udp")
    return udp and ("tcp" not in checks.networks(endpoint) or sockets.listening(endpoint.port))


def accepts(path: Path) -> bool:
    """Whether somebody takes connections on this unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(str(path)) == 0
