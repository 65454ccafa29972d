"""Starts, finds and ends the wireguard-go of one interface.

What always holds: it is known by pid and start time and held by a pidfd, so no signal ever hits another
process; it outlives the agent; what it writes stays in memory; a start ends with its socket answering, or
leaves nothing running and says why.
"""

import asyncio
import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

from agent.drivers import base, held, memfiles, pids

START_DEADLINE_S = 5.0
_TERM_S = 2.0
_POLL_S = 0.005
_LAST_WORDS = 200
_ADDRESS = re.compile(r"\[?[0-9a-fA-F]*(?::[0-9a-fA-F]*){2,}\]?(?::\d+)?|\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?")


class Daemon(held.Held):
    """A running wireguard-go; `ended` is set when it is gone, or no longer watched."""

    def __init__(self, pid: int, started: int, pidfd: int, output_fd: int | None) -> None:
        super().__init__(pid, pidfd, output_fd, called="wireguard-go", term_s=_TERM_S)
        self.started = started
        self.generation = pids.generation(pid, started)
        self._waiting: asyncio.Event | None = None

    def tell(self, waiting: asyncio.Event) -> None:
        """Set this too once it is gone."""
        self._waiting = waiting
        if self.ended.is_set():
            waiting.set()

    def reason(self) -> str:
        """Why it ended, in words."""
        if self.status is None:
            how = "wireguard-go ended"
        elif self.status < 0:
            how = f"wireguard-go was ended by signal {-self.status}"
        else:
            how = f"wireguard-go ended with status {self.status}"
        said = [line for line in self.output().splitlines() if line.strip()][-1:]
        return "; its last words: ".join(
            [how, *(_ADDRESS.sub("[address]", one)[:_LAST_WORDS] for one in said)]
        )

    def _gone(self) -> None:
        super()._gone()
        if self._waiting is not None:
            self._waiting.set()


def find(pid: int, started: int) -> Daemon | None:
    """The process that was started under this pid at this time, if it still runs."""
    found = pids.hold(pid, started)
    return Daemon(pid, started, *found) if found else None


def orphan(path: Path, name: str) -> Daemon | None:
    """A wireguard-go that serves this interface as ours do, and that no register knows of."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        if probe.connect_ex(str(path)):
            return None
        pid = int.from_bytes(probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 4), sys.byteorder)
    started = pids.start_time(pid)
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return None
    if (
        started is None
        or command[1:] != [b"-f", name.encode(), b""]
        or not command[0].endswith(b"/wireguard-go")
    ):
        return None
    return find(pid, started)


async def start(binary: str, name: str, path: Path) -> Daemon:
    """Start one for this interface, whose socket will be at `path`. Raises DriverError with the reason."""
    if await asyncio.to_thread(accepts, path):
        raise base.DriverError(
            f"another program already serves the interface {name}: end it, or choose a prefix"
        )
    running = Daemon(*await asyncio.to_thread(_spawn, binary, name))
    try:
        await _ready(running, path)
    except BaseException:
        await running.end()
        running.close()
        raise
    return running


def accepts(path: Path) -> bool:
    """Whether somebody listens there; a socket that a killed daemon left does not count."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(str(path)) == 0


def _spawn(binary: str, name: str) -> tuple[int, int, int, int]:
    found = shutil.which(binary)
    if found is None:
        raise base.DriverError(
            f"there is no {binary}: install the package wireguard-go or the kernel's module"
        )
    output_fd = memfiles.create("wireguard-go")
    try:
        child = subprocess.Popen(
            [found, "-f", name],
            stdin=subprocess.DEVNULL,
            stdout=output_fd,
            stderr=output_fd,
            cwd="/",
            env={"LOG_LEVEL": "error", "PATH": os.defpath},
            start_new_session=True,
        )
    except OSError as error:
        os.close(output_fd)
        raise base.DriverError(f"wireguard-go cannot be started: {error.strerror}") from error
    child.returncode = 0  # it is watched and reaped through the pidfd, and may outlive us: nothing for Popen
    return child.pid, pids.start_time(child.pid) or 0, os.pidfd_open(child.pid), output_fd


async def _ready(running: Daemon, path: Path) -> None:
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + START_DEADLINE_S
    while not await asyncio.to_thread(accepts, path):
        if running.ended.is_set():
            raise base.DriverError(running.reason())
        if loop.time() >= deadline_s:
            raise base.DriverError(f"wireguard-go did not get ready within {START_DEADLINE_S:g} s")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(running.ended.wait(), _POLL_S)
