"""An interface without a program, for tests of what keeps its books."""

from collections.abc import Sequence
from pathlib import Path

from agent.drivers.wireguard import register
from agent.drivers.wireguard.books import Books
from agent.drivers.wireguard.interface import Interface
from agent.drivers.wireguard.peers import Backend, Change, Device, Seen, State
from shared.messages import Endpoint
from tests.kit import wireguard


class MemoryDevice(Device):
    """`carry` makes bytes arrive as a real interface counts them: also those that it drops."""

    backend: Backend = "userspace"

    def __init__(self, name: str = "tg1") -> None:
        self.name = name
        self.generation = "memory-1"
        self.peers: dict[str, Seen] = {}
        self.applied: list[Change] = []

    def configure(self, private_key: str, port: int) -> None:
        """Nothing that a test looks at."""

    def apply(self, changes: Sequence[Change]) -> None:
        """As wireguard-go does it: an address belongs to the peer that got it last."""
        for change in changes:
            self.applied.append(change)
            if change.remove:
                self.peers.pop(change.key, None)
            elif change.key in self.peers or not change.only_known:
                self._set(change)

    def state(self) -> State:
        """All peers."""
        return State(peers=dict(self.peers))

    def ping(self) -> None:
        """It always answers."""

    def carry(self, key: str, up: int, down: int) -> bool:
        """Bytes of a peer; False when what he sent was dropped, and nothing was sent to him."""
        seen = self.peers.get(key)
        if seen is None:
            return False
        self.peers[key] = seen._replace(rx=seen.rx + up, tx=seen.tx + (down if seen.allowed else 0))
        return bool(seen.allowed)

    def _set(self, change: Change) -> None:
        seen = self.peers.get(change.key) or Seen(change.key, None, (), "", 0, 0, 0)
        if change.preshared is not None:
            seen = seen._replace(preshared=change.preshared or None)
        if change.allowed is not None:
            for other in list(self.peers.values()):
                left = tuple(one for one in other.allowed if one not in change.allowed)
                self.peers[other.key] = other._replace(allowed=left)
            seen = seen._replace(allowed=change.allowed)
        self.peers[change.key] = seen


class Bench:
    """An interface on such a device; `adopt` gives it to the next agent."""

    def __init__(self, path: Path, *, keep_blocked: int = 100) -> None:
        self.device = MemoryDevice()
        self.endpoint: Endpoint = wireguard.endpoint(wireguard.keys(), 51820)
        self._path = path
        self._keep = keep_blocked
        self.interface = self._made(None)
        self.interface.write()

    def adopt(self) -> None:
        """Another agent takes over."""
        kept = register.restore(self._path, self.endpoint.endpoint, dict(self.device.peers), 0.0)
        self.interface = self._made(kept)

    def _made(self, kept: Books | None) -> Interface:
        run = register.Run(backend="userspace", name="tg1", generation="memory-1", endpoint=self.endpoint)
        written = register.Register(self._path, run)
        return Interface(self.endpoint, self.device, written, kept=kept, keep_blocked=self._keep)
