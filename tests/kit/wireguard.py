"""Real WireGuard on both ends: keys, endpoints and accounts, a driver in a namespace, clients in others.

What always holds: interfaces have names of their own, since wireguard-go keeps its sockets in one directory
for all namespaces; whatever is left of them when a block ends is removed.
"""

import base64
import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import x25519

from agent.core.counting import Meter
from agent.core.served import Served
from agent.drivers.wireguard import options
from shared import endpoints
from shared.messages import Account, Endpoint
from shared.names import EndpointId, UserId
from tests.kit import lab, netns, waiting

#: What a packet of the tunnel costs beside its content, which is padded to sixteen bytes.
OVERHEAD_BYTES = 32
_PROGRAMS = {"ip": "iproute2", "tc": "iproute2", "nft": "nftables", "wg": "wireguard-tools"}
_GO = {"wireguard-go": "wireguard-go"}
_READY_S = 5.0
_KEY_BYTES = 32
_PACKET_BYTES = 65_536


@dataclass(frozen=True)
class Keys:
    """A pair, in base64."""

    private: str
    public: str


@dataclass(frozen=True, kw_only=True)
class User:
    """Somebody with an account on endpoint 1, and all his client needs."""

    number: int
    keys: Keys
    addresses: tuple[str, ...]
    preshared: str | None = None

    def account(self, rate: endpoints.Rate | None = None, endpoint: int = 1) -> Account:
        """As the collector would send it."""
        peer = endpoints.Peer(
            public_key=self.keys.public, preshared_key=self.preshared, addresses=self.addresses
        )
        return Account(
            user=UserId(self.number), endpoint=EndpointId(endpoint), uuid="u", peer=peer, rate=rate
        )

    @property
    def meter(self) -> Meter:
        """What is counted of him."""
        return Meter(UserId(self.number), EndpointId(1))


@dataclass(frozen=True)
class Client:
    """A running client; `place` is where its packets come from."""

    interface: str
    place: lab.Place
    user: User
    process: subprocess.Popen[bytes]

    def handshakes(self) -> int:
        """The second of the last handshake, 0 before the first."""
        said = ran("wg", "show", self.interface, "latest-handshakes").split()
        return int(said[1]) if said else 0

    def route(self, address: str) -> None:
        """Reach this address through the tunnel."""
        with self.place.inside():
            netns.ip("route", "add", address, "dev", self.interface)

    def move(self, address: str) -> None:
        """Come from another address of the place from now on, as a phone does that changes networks."""
        with self.place.inside():
            netns.ip("addr", "del", f"{self.place.address}/24", "dev", "eth0")
            netns.ip("addr", "add", f"{address}/24", "dev", "eth0")


def missing() -> str | None:
    """Why real WireGuard cannot be tested here; None when it can."""
    if reason := lab.why_no_namespaces():
        return reason
    for program, package in {**_PROGRAMS, **_GO}.items():
        if shutil.which(program) is None:
            return f"the program {program} is not installed (package {package})"
    return None if Path("/dev/net/tun").exists() else "there is no /dev/net/tun for wireguard-go"


def keys() -> Keys:
    """A new pair."""
    private = x25519.X25519PrivateKey.generate()
    raw = private.private_bytes(
        serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption()
    )
    return Keys(_text(raw), _text(private.public_key().public_bytes_raw()))


def any_key() -> str:
    """Thirty-two bytes that pass for a public key, or are a preshared one."""
    return _text(secrets.token_bytes(_KEY_BYTES))


def user(number: int, *, pool: str = "10.66", six: str | None = "fd66::", preshared: bool = True) -> User:
    """A user whose addresses follow from his number."""
    four = f"{pool}.{number >> 8}.{number & 0xFF}"
    addresses = (four, f"{six}{number:x}") if six else (four,)
    return User(number=number, keys=keys(), addresses=addresses, preshared=any_key() if preshared else None)


def crowd(numbers: Sequence[int]) -> list[Account]:
    """Accounts of users who never come: their keys are nobody's."""
    return [
        Account(
            user=UserId(number),
            endpoint=EndpointId(1),
            uuid="u",
            peer=endpoints.Peer(
                public_key=any_key(),
                preshared_key=any_key(),
                addresses=(f"10.66.{number >> 8}.{number & 0xFF}",),
            ),
        )
        for number in numbers
    ]


def endpoint(
    server: Keys,
    port: int,
    *,
    number: int = 1,
    addresses: tuple[str, ...] = ("10.66.0.1/16", "fd66::1/64"),
    masquerade: bool = True,
) -> Endpoint:
    """An endpoint as the collector would send it; user 1 would have the interface's own address."""
    chosen = endpoints.WireGuard(private_key=server.private, addresses=addresses, masquerade=masquerade)
    return Endpoint(endpoint=EndpointId(number), protocol="wireguard", port=port, options=chosen)


def serving(one: Endpoint, *accounts: Account) -> Served:
    """This endpoint with these accounts."""
    return Served({one.endpoint: one}, {Meter(a.user, a.endpoint): a for a in accounts})


def token() -> str:
    """Three signs that tell the interfaces of a test from those of others."""
    return secrets.token_hex(2)[:3]


@contextlib.contextmanager
def chosen(directory: Path, *, fence_s: float | None = None) -> Iterator[options.Options]:
    """Options whose interfaces are nobody else's; the daemons of all of them are killed in the end.

    With a fence there is a guard, which looks at the file "lock" for an agent.
    """
    prefix = f"t{token()}"
    try:
        yield options.Options(
            run_dir=directory / "run",
            backend="userspace",
            prefix=prefix,
            lock_file=None if fence_s is None else directory / "lock",
            fence_s=fence_s or 60.0,
        )
    finally:
        sweep(prefix)
        shutil.rmtree(directory / "run", ignore_errors=True)  # without registers a guard ends


def sweep(prefix: str) -> None:
    """Kill every wireguard-go whose interface begins with this."""
    for path in options.SOCKETS.glob(f"{prefix}*.sock"):
        with contextlib.suppress(OSError, ProcessLookupError):
            os.kill(_listener(path), signal.SIGKILL)
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def client(one: User, server: Keys, way: tuple[str, int], place: lab.Place) -> Iterator[Client]:
    """A client of this user at a place, with a route to all the tunnel's networks."""
    name = f"c{token()}{one.number}"
    path = options.SOCKETS / f"{name}.sock"
    with place.inside():
        process = subprocess.Popen(
            ["wireguard-go", "-f", name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
    try:
        waiting.until(path.exists, within_s=_READY_S, what=f"{path} to be there")
        _configure(name, one, server, way)
        with place.inside():
            netns.ip("link", "set", name, "mtu", "1420", "up")
            for address in one.addresses:
                length, unseen = ("/64", ["nodad"]) if ":" in address else ("/16", [])
                netns.ip("addr", "add", address + length, "dev", name, *unseen)
        yield Client(name, place, one, process)
    finally:
        process.terminate()
        process.wait(_READY_S)
        path.unlink(missing_ok=True)


def dump(interface: str) -> dict[str, tuple[int, int]]:
    """What `wg` itself says each peer has sent and received, by key."""
    lines = ran("wg", "show", interface, "dump").splitlines()[1:]
    found = [line.split("\t") for line in lines]
    return {fields[0]: (int(fields[5]), int(fields[6])) for fields in found}


def on_the_wire(packets: int, content_bytes: int) -> int:
    """What so many UDP packets of IPv4 count: each is padded, and wrapped once more."""
    inside = content_bytes + 28
    return packets * ((inside + 15) // 16 * 16 + OVERHEAD_BYTES)


class Pipe:
    """UDP between two places through the tunnel, sent at a pace that loses nothing."""

    def __init__(self, sender: lab.Place, source: str, receiver: lab.Place, target: str) -> None:
        family = socket.AF_INET6 if ":" in target else socket.AF_INET
        with receiver.inside():
            self._into = socket.socket(family, socket.SOCK_DGRAM)
            self._into.bind((target, 0))
        with sender.inside():
            self._out = socket.socket(family, socket.SOCK_DGRAM)
            self._out.bind((source, 0))
        self._into.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.last_sender = ""
        self._target = (target, self._into.getsockname()[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._into.close()
        self._out.close()

    def send(self, packets: int, content_bytes: int, *, within_s: float = 10.0) -> int:
        """Send one after the other, each when the last one has arrived; returns how many arrived."""
        self._into.settimeout(within_s)
        content = bytes(content_bytes)
        for number in range(packets):
            self._out.sendto(content, self._target)
            try:
                self.last_sender = self._into.recvfrom(_PACKET_BYTES)[1][0]
            except TimeoutError:
                return number
        return packets

    def passes(self, *, within_s: float = 0.3) -> bool:
        """Whether a packet arrives."""
        return self.send(1, 8, within_s=within_s) == 1

    def throw(self, content_bytes: int) -> None:
        """Send one and do not wait for it."""
        with contextlib.suppress(OSError):
            self._out.sendto(bytes(content_bytes), self._target)

    def arrived(self) -> int:
        """How many have arrived since the last time, without waiting."""
        self._into.setblocking(False)
        count = 0
        with contextlib.suppress(BlockingIOError):
            while self._into.recv(_PACKET_BYTES):
                count += 1
        return count


def connected(pipe: Pipe, *, within_s: float = 20.0) -> None:
    """Wait until the tunnel is there."""
    waiting.until(lambda: pipe.passes(within_s=0.5), within_s=within_s, what="the tunnel to be there")


def _configure(name: str, one: User, server: Keys, way: tuple[str, int]) -> None:
    preshared = ["preshared-key", "/dev/fd/4"] if one.preshared else []
    host = f"[{way[0]}]" if ":" in way[0] else way[0]
    peer = ["peer", server.public, *preshared, "endpoint", f"{host}:{way[1]}"]
    with _secret(one.keys.private) as private, _secret(one.preshared or "") as shared:
        words = ["wg", "set", name, "private-key", f"/dev/fd/{private}", *peer]
        words = [f"/dev/fd/{shared}" if word == "/dev/fd/4" else word for word in words]
        done = subprocess.run(
            [*words, "allowed-ips", "0.0.0.0/0,::/0"],
            check=False,
            capture_output=True,
            text=True,
            pass_fds=(private, shared),
        )
    if done.returncode:
        raise RuntimeError(f"wg set: {done.stderr.strip()}")


@contextlib.contextmanager
def _secret(text: str) -> Iterator[int]:
    """A file of this content that is in memory only, as `wg` wants keys."""
    descriptor = os.memfd_create("key")
    try:
        os.write(descriptor, text.encode())
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)


def ran(*command: str) -> str:
    """What a program printed. Raises subprocess.CalledProcessError when it failed."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _listener(path: Path) -> int:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.connect(str(path))
        return int.from_bytes(probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 4), "little")


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")
