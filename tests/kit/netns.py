"""Network namespaces of this process: made, joined, entered by one thread, and removed. Needs root.

What always holds: a name begins with the pid that made it, so that what a killed process left behind is
found by name and never confused with the namespaces of a live one. No interface is added to the host.
"""

import contextlib
import ctypes
import os
import re
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

_OURS = re.compile(r"tg(?P<pid>\d+)-[0-9a-f]+-\w+")
_RUN = Path("/run/netns")
_CLONE_NEWNET = 0x40000000


def name(token: str, place: str) -> str:
    """Name of one namespace: this process, one lab of it, one place of the lab."""
    return f"tg{os.getpid()}-{token}-{place}"


def make(namespace: str) -> None:
    """Make a namespace whose loopback is up."""
    ip("netns", "add", namespace)
    ip("-n", namespace, "link", "set", "lo", "up")


def bridge(hub: str, addresses: Sequence[str]) -> None:
    """Make the bridge that joins the other namespaces; addresses have their prefix lengths."""
    ip("-n", hub, "link", "add", "br0", "type", "bridge")
    _address(hub, "br0", addresses)
    ip("-n", hub, "link", "set", "br0", "up")


def join(hub: str, namespace: str, addresses: Sequence[str], port: int) -> None:
    """Plug a namespace into port number `port` of the hub's bridge, under these addresses.

    Its default route ends at the hub, which forwards nothing: programs look for one, and find no way out.
    """
    cable = f"port{port}"
    ip("-n", hub, "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", namespace)
    ip("-n", hub, "link", "set", cable, "master", "br0", "up")
    _address(namespace, "eth0", addresses)
    ip("-n", namespace, "link", "set", "eth0", "up")
    ip("-n", namespace, "route", "add", "default", "dev", "eth0")


@contextlib.contextmanager
def entered(namespace: str) -> Iterator[None]:
    """Run the block inside a namespace; processes started there stay in it.

    Only the calling thread moves (setns(2)), so other threads of the process notice nothing.
    """
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _enter(_RUN / namespace)
        yield
    finally:
        _setns(home)
        os.close(home)


def remove(namespace: str) -> None:
    """End what still runs in the namespace and remove it; success when it is gone already."""
    if not (_RUN / namespace).exists():
        return
    for pid in _pids(namespace):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    subprocess.run(["ip", "netns", "del", namespace], check=False, capture_output=True)


def remove_leftovers() -> list[str]:
    """Remove the namespaces of processes of ours that no longer live; returns their names."""
    found = sorted(entry.name for entry in _RUN.glob("tg*")) if _RUN.is_dir() else []
    dead = [namespace for namespace in found if _is_orphan(namespace)]
    for namespace in dead:
        remove(namespace)
    return dead


def ip(*words: str) -> str:
    """Run `ip` and return what it printed.

    Raises:
        RuntimeError: with what `ip` said, when it failed.
    """
    done = subprocess.run(["ip", *words], check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def _address(namespace: str, device: str, addresses: Sequence[str]) -> None:
    for address in addresses:
        # Nobody else is on this wire: an address of version 6 need not be looked for first.
        unseen = ["nodad"] if ":" in address else []
        ip("-n", namespace, "addr", "add", address, "dev", device, *unseen)


def _pids(namespace: str) -> Sequence[int]:
    return [int(pid) for pid in ip("netns", "pids", namespace).split() if int(pid) != os.getpid()]


def _is_orphan(namespace: str) -> bool:
    match = _OURS.fullmatch(namespace)
    return match is not None and not Path("/proc", match["pid"]).exists()


def _enter(path: Path) -> None:
    target = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _setns(target)
    finally:
        os.close(target)


def _setns(descriptor: int) -> None:
    # os.setns arrived with Python 3.12; the floor here is 3.11.
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET):
        error = ctypes.get_errno()
        raise OSError(error, f"setns: {os.strerror(error)}")
