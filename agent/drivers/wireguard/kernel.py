"""An interface of the kernel's module, spoken to by generic netlink.

What always holds: every call has a socket and sequence numbers of its own and a deadline, so an answer to
another question is never taken for one to this; the interface carries its generation as its alias, since a
number that was given out again is not the same interface.
"""

import contextlib
import errno
import itertools
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from agent.drivers import base, pids
from agent.drivers.wireguard import checks, netlink, network
from agent.drivers.wireguard.peers import Backend, Change, Device, Seen, State

ALIAS = "tidegate:"
_CALL_S = 10.0
_DATAGRAM_BYTES = 1 << 20
_PROBE = "tgprobe"
_FIRST = 1
#: linux/netlink.h; the standard library does not name it.
_NETLINK_GENERIC = 16
_TRIES = 5


def connect() -> socket.socket:
    """A socket of generic netlink in this network namespace."""
    made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_GENERIC)
    made.bind((0, 0))
    return made


def lacking() -> str | None:
    """Why no interface of the module can be made here; None when one can."""
    try:
        network.delete(_PROBE)
        network.add_kernel(_PROBE, ALIAS + _PROBE)
        network.delete(_PROBE)
    except base.DriverError as error:
        return str(error)
    return None


def create(name: str) -> tuple[int, str]:
    """Make an interface; returns its number and its generation. Raises DriverError."""
    generation = pids.generation(os.getpid(), time.monotonic_ns())
    network.add_kernel(name, ALIAS + generation)
    made = network.link(name)
    if made is None:
        raise base.DriverError(f"the interface {name} is gone as soon as it was made")
    return made.index, generation


class Kernel(Device):
    """One interface of the module."""

    backend: Backend = "kernel"

    def __init__(self, name: str, generation: str, connect_to: Callable[[], socket.socket] = connect) -> None:
        self.name = checks.interface_name(name)
        self.generation = generation
        self._connect = connect_to
        self._known: Mapping[bytes, Seen] = {}

    def configure(self, private_key: str, port: int) -> None:
        """One message."""
        with self._talk() as talk:
            talk.order(netlink.configuration(talk.family, talk.next(), self.name, private_key, port))

    def apply(self, changes: Sequence[Change]) -> None:
        """One message for each few hundred peers."""
        with self._talk() as talk:
            for piece in netlink.pieces(changes):
                talk.order(netlink.changes(talk.family, talk.next(), self.name, piece))

    def state(self) -> State:
        """One dump, again when peers came or went meanwhile."""
        with self._talk() as talk:
            for _ in range(_TRIES):
                dump, torn = netlink.Dump(self._known), False
                for reply in talk.ask(netlink.ask_device(talk.family, talk.next(), self.name)):
                    dump.take(reply)
                    torn = torn or reply.torn
                if not torn:
                    self._known = dump.known
                    return dump.state()
        raise base.DriverError(f"the interface {self.name} changes too fast to be read")

    def ping(self) -> None:
        """Whether it is still there, and still the same one."""
        there = network.link(self.name)
        if there is None or there.alias != ALIAS + self.generation:
            raise base.CoreDownError(f"somebody has removed the interface {self.name}")

    @contextlib.contextmanager
    def _talk(self) -> Iterator["_Talk"]:
        try:
            with self._connect() as opened:
                opened.settimeout(_CALL_S)
                yield _Talk(opened)
        except TimeoutError:
            raise base.DriverError(f"the interface {self.name} did not answer within {_CALL_S:g} s") from None
        except OSError as error:
            if error.errno == errno.ENODEV:
                raise base.CoreDownError(f"somebody has removed the interface {self.name}") from None
            raise base.DriverError(f"the interface {self.name} refused: {_said(error)}") from None
        except (netlink.NetlinkError, ValueError) as wrong:
            raise base.DriverError(f"the interface {self.name} cannot be understood: {wrong}") from None


class _Talk:
    """One conversation; it begins with the number of WireGuard's family."""

    def __init__(self, opened: socket.socket) -> None:
        self._socket = opened
        self._sequences = itertools.count(_FIRST)
        self._sequence = 0
        self.family = 0
        for reply in self.ask(netlink.ask_family(self.next())):
            self.family = netlink.family(reply)

    def next(self) -> int:
        """The sequence number of the next question."""
        self._sequence = next(self._sequences)
        return self._sequence

    def order(self, message: bytes) -> None:
        """Have something done."""
        for _reply in self.ask(message):
            pass

    def ask(self, message: bytes) -> Iterator[netlink.Reply]:
        """The answer, up to its acknowledgement. Raises OSError for a refusal."""
        self._socket.send(message)
        while True:
            for reply in netlink.replies(self._socket.recv(_DATAGRAM_BYTES)):
                if reply.sequence != self._sequence:
                    continue
                if reply.kind in (netlink.NLMSG_ERROR, netlink.NLMSG_DONE):
                    if reply.errno:
                        raise OSError(-reply.errno, os.strerror(-reply.errno))
                    return
                yield reply


def _said(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "another program has its port"
    return error.strerror or "it gave no reason"
