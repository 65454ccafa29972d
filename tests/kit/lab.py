"""The network a test or the demo plays in: a hub, and places plugged into it, each with its own address.

As root every place is a network namespace, so addresses are real and nothing leaves the lab. Without root
the same interface stands on 127.0.0.0/8, and `limitations` says in words what that cannot prove.
What always holds: leaving the lab, however it is left, removes what it made.
"""

import contextlib
import os
import random
import secrets
import shutil
import signal
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from tests.kit import netns

#: Ports below Linux's range for outgoing connections: a client can not take one before its server does.
_PORTS = range(15_000, 32_000)

#: The third number is unusual on purpose: these addresses can be searched for without meeting others.
_NAMESPACES = "10.213.147"
_LOOPBACK = "127.213.147"
#: Each place has a /64 of its own in this /48, as households have.
_NAMESPACES6 = "fd5a:3c91:7e42"

_IPV6 = Path("/proc/sys/net/ipv6")

_NO_ROOT = (
    "clients are told apart by addresses of 127.0.0.0/8 instead of by network namespaces",
    "cutting live connections exactly needs CAP_NET_ADMIN, which is not proved without root",
)


@dataclass(frozen=True)
class Place:
    """Somewhere programs run: addresses, of version 6 where there is that, and a namespace likewise."""

    name: str
    address: str
    namespace: str | None = None
    address6: str | None = None

    @property
    def prefixed(self) -> list[str]:
        """Its addresses as `ip` wants them."""
        return [f"{self.address}/24", *([f"{self.address6}/48"] if self.address6 else [])]

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Make this thread's new sockets and processes belong to the place."""
        with netns.entered(self.namespace) if self.namespace else contextlib.nullcontext():
            yield

    def free_port(self) -> int:
        """A TCP port nobody listens on here at this moment."""
        with self.inside():
            return next(port for port in _shuffled_ports() if _is_free(port))

    def answers(self, address: str, port: int) -> bool:
        """Whether somebody accepts TCP connections on that port, as seen from here."""
        with self.inside(), socket.socket() as probe:
            return probe.connect_ex((address, port)) == 0


@dataclass(frozen=True)
class Lab:
    """The places by name; "hub" is always there. `limitations` is empty when nothing is left out."""

    places: Mapping[str, Place]
    limitations: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Place:
        return self.places[name]


@contextlib.contextmanager
def opened(names: Sequence[str]) -> Iterator[Lab]:
    """Open namespaces where they can be made, else places on loopback."""
    with signals_raise(), namespaces(names) if why_no_namespaces() is None else loopback(names) as lab:
        yield lab


def why_no_namespaces() -> str | None:
    """Why namespaces can not be made here, None when they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "network namespaces need the program ip (package iproute2)"
    probe = netns.name(secrets.token_hex(2), "probe")
    try:
        netns.make(probe)
    except RuntimeError as error:
        return f"network namespaces can not be made here: {str(error).rpartition(': ')[2]}"
    netns.remove(probe)
    return None


@contextlib.contextmanager
def namespaces(names: Sequence[str]) -> Iterator[Lab]:
    """One namespace a place, joined by a bridge in the hub's; removed at the end."""
    netns.remove_leftovers()
    token = secrets.token_hex(2)
    places = {
        name: Place(name, f"{_NAMESPACES}.{number}", netns.name(token, name), _address6(number))
        for number, name in enumerate(["hub", *names], start=1)
    }
    try:
        _build(list(places.values()))
        yield Lab(places)
    finally:
        with undisturbed():
            for place in places.values():
                netns.remove(place.namespace or "")


@contextlib.contextmanager
def loopback(names: Sequence[str]) -> Iterator[Lab]:
    """Places that are only addresses of 127.0.0.0/8; there is nothing to remove."""
    places = {
        name: Place(name, f"{_LOOPBACK}.{number}") for number, name in enumerate(["hub", *names], start=1)
    }
    yield Lab(places, _NO_ROOT)


@contextlib.contextmanager
def signals_raise() -> Iterator[None]:
    """Let SIGTERM unwind the stack as Ctrl-C does, so that every `finally` runs."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Hold back Ctrl-C and SIGTERM while the block cleans up."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _build(places: Sequence[Place]) -> None:
    hub = places[0]
    for place in places:
        netns.make(place.namespace or "")
    netns.bridge(hub.namespace or "", hub.prefixed)
    for port, place in enumerate(places[1:]):
        netns.join(hub.namespace or "", place.namespace or "", place.prefixed, port)


def _address6(number: int) -> str | None:
    return f"{_NAMESPACES6}:{0xD100 + number:x}::{0xE200 + number:x}" if _IPV6.exists() else None


def _shuffled_ports() -> list[int]:
    return random.sample(_PORTS, 200)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
        return True
