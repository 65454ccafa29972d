"""What a WireGuard interface is told and what it tells, whichever program is behind it.

What always holds: keys are 32 bytes in canonical base64, as `wg` prints them; addresses are canonical text
with the length of their network. Values only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

Backend = Literal["kernel", "userspace"]


class Seen(NamedTuple):
    """A peer as the interface shows it; `rx` and `tx` are bytes on the wire, from the interface's side.

    `endpoint` is the client's address and port, empty as long as none is known; `handshake_s` is the second
    since the epoch of the last handshake, 0 for none.
    """

    key: str
    preshared: str | None
    allowed: tuple[str, ...]
    endpoint: str
    handshake_s: int
    rx: int
    tx: int


class Change(NamedTuple):
    """What is to become of one peer. It is made when it is not there, unless `only_known`.

    `allowed` replaces all it may send from and be sent to, None leaves them; so does `preshared`, of which
    the empty one is none.
    """

    key: str
    allowed: tuple[str, ...] | None = None
    preshared: str | None = None
    only_known: bool = False
    remove: bool = False


@dataclass(frozen=True, kw_only=True)
class State:
    """Everything an interface shows; peers by key."""

    private_key: str = field(default="", repr=False)
    port: int = 0
    peers: Mapping[str, Seen] = field(default_factory=dict)


class Device(Protocol):
    """One interface. Every call blocks, and raises DriverError within seconds when it gets no answer."""

    backend: Backend
    name: str
    #: Counters of one generation began at zero.
    generation: str

    def configure(self, private_key: str, port: int) -> None:
        """Give it its key and make it listen on the port."""

    def apply(self, changes: Sequence[Change]) -> None:
        """Change peers, in this order. When it raises, some of them may have been changed."""

    def state(self) -> State:
        """All there is to know."""

    def ping(self) -> None:
        """Raise DriverError when it does not answer."""


def block(key: str) -> Change:
    """Let nothing pass, keep counters and session."""
    return Change(key, allowed=(), only_known=True)


def remove(key: str) -> Change:
    """Forget the peer, its counters with it."""
    return Change(key, remove=True)
