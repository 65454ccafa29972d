"""WireGuard in a fleet: an endpoint on its node, users on it, and clients made from the files of the API.

What always holds: what is counted is what `wg` itself says at the node; the node's wireguard-go ends with the
lab's namespaces, those of clients end with their blocks.
"""

import base64
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import x25519

from tests.kit import clients, lab, programs, source, waiting, wireguard
from tests.kit.fleet import Fleet, User

#: The node in the tunnel.
ADDRESS = "10.66.0.1"
_NETWORKS = (f"{ADDRESS}/16", "fd66::1/64")
_READY_S = 15.0


@dataclass(frozen=True)
class Handed:
    """What a file of the API says."""

    user: wireguard.User
    server: wireguard.Keys
    way: tuple[str, int]


@dataclass(frozen=True, kw_only=True)
class Tunnel:
    """A WireGuard endpoint of a fleet's node; `source` is where bytes come from behind it."""

    fleet: Fleet
    endpoint: int
    source: str

    @property
    def interface(self) -> str:
        """Its name on the node."""
        return f"tg{self.endpoint}"

    def add_user(self, name: str, *, quota_bytes: int | None = None, only: bool = True) -> User:
        """Create a user of the tunnel, and of the fleet's Xray unless he is `only` here."""
        where = [self.endpoint] if only else [self.fleet.endpoint, self.endpoint]
        made = self.fleet.api.create_user(name, endpoints=where, quota_bytes=quota_bytes)
        return User(made["id"], name, made["uuid"])

    def handed(self, user: User) -> Handed:
        """The user's file, read."""
        text = self.fleet.api.wireguard_file(user.id, self.endpoint)
        said = dict(line.split(" = ", 1) for line in text.splitlines() if " = " in line)
        addresses = tuple(one.partition("/")[0] for one in said["Address"].split(", "))
        host, _, port = said["Endpoint"].rpartition(":")
        keys = wireguard.Keys(said["PrivateKey"], _public(said["PrivateKey"]))
        return Handed(
            wireguard.User(number=user.id, keys=keys, addresses=addresses, preshared=said["PresharedKey"]),
            wireguard.Keys("", said["PublicKey"]),
            (host, int(port)),
        )

    @contextlib.contextmanager
    def client(self, user: User, place: str) -> Iterator[wireguard.Client]:
        """His client at that place, connected."""
        handed = self.handed(user)
        # A handshake that nobody answers is tried again only seconds later.
        waiting.until(
            lambda: handed.user.keys.public in self.fleet.agent.tunnel_counters(self.interface),
            within_s=_READY_S,
            what=f"{user.name} to be known at {self.interface}",
        )
        with wireguard.client(handed.user, handed.server, handed.way, self.fleet.lab[place]) as client:
            with self.up(client) as pipe:
                wireguard.connected(pipe)
            yield client

    def up(self, client: wireguard.Client) -> wireguard.Pipe:
        """From the user to the node."""
        return wireguard.Pipe(client.place, client.user.addresses[0], self.fleet.lab["node"], ADDRESS)

    def down(self, client: wireguard.Client) -> wireguard.Pipe:
        """From the node to the user."""
        return wireguard.Pipe(self.fleet.lab["node"], ADDRESS, client.place, client.user.addresses[0])

    def download(
        self,
        client: wireguard.Client,
        size_bytes: int,
        *,
        rate: int | None = None,
        silence_s: float = 10.0,
    ) -> clients.Download:
        """Begin a download over the tunnel; the fleet's delivered bytes count it too."""
        path = f"/bytes/{size_bytes}" + (f"?rate={rate}" if rate else "")
        bounds = ["--timeout", str(silence_s)]
        command = programs.python("tests.kit.download", "--target", self.source, "--path", path, *bounds)
        begun = self.fleet.downloads.setdefault(client.user.number, [])
        name = f"{client.interface}-download-{len(begun) + 1}"
        begun.append(clients.Download(self.fleet.running.start(name, command, place=client.place)))
        return begun[-1]

    def counted(self, client: wireguard.Client) -> int:
        """Bytes both ways that `wg` says at the node."""
        return self.fleet.agent.tunnel_counters(self.interface)[client.user.keys.public]

    def settled(self, user: User, client: wireguard.Client, besides: int = 0) -> int:
        """Wait until what is billed is what `wg` says and so many bytes `besides`; returns the bill."""

        def exact() -> int | None:
            billed = self.fleet.billed(user)
            return billed if billed == self.counted(client) + besides else None

        what = f"{user.name} to be billed what wg counts and {besides} bytes"
        try:
            return waiting.until(exact, within_s=_READY_S, what=what)
        except TimeoutError as error:
            error.add_note(f"billed {self.fleet.billed(user)}, wg says {self.counted(client)}")
            raise


@contextlib.contextmanager
def opened(fleet: Fleet) -> Iterator[Tunnel]:
    """A WireGuard endpoint on the node of a fleet that was opened with the wish for tunnels."""
    node: lab.Place = fleet.lab["node"]
    made = fleet.api.create_tunnel(fleet.node, node.address, node.free_port(), _NETWORKS)
    with node.inside():
        serving = source.Source("0.0.0.0")
    with serving:
        yield Tunnel(fleet=fleet, endpoint=made["id"], source=f"{ADDRESS}:{serving.port}")


def _public(private: str) -> str:
    pair = x25519.X25519PrivateKey.from_private_bytes(base64.b64decode(private))
    return base64.b64encode(pair.public_key().public_bytes_raw()).decode("ascii")
