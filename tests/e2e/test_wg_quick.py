"""The configuration that the API hands out, brought up by wg-quick against an interface as a node has it."""

import secrets
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from collector.app import configs
from shared.endpoints import Peer, WireGuard
from shared.messages import Account, Endpoint
from shared.names import EndpointId, NodeId
from tests.collector.fronts import rig as rigs
from tests.collector.fronts.rig import Rig
from tests.kit import lab, programs, waiting
from tests.kit.lab import Place
from tests.kit.programs import Programs

_PROGRAMS = ("wg", "wg-quick", "wireguard-go")
_MISSING = [name for name in _PROGRAMS if shutil.which(name) is None]
_SOCKETS = Path("/var/run/wireguard")
_PORT = 51_820

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.netns,
    pytest.mark.skipif(bool(_MISSING), reason=f"needs {', '.join(_MISSING)}"),
]


def _done(place: Place, *command: str, env: dict[str, str] | None = None) -> str:
    done = programs.run(command, place=place, env=env)
    assert done.status == 0, f"{command}: {done.out}{done.err}"
    return done.out


def _told(rig: Rig, node: NodeId, tunnel: EndpointId) -> tuple[WireGuard, Peer]:
    """The interface and its user as the node is told of them."""
    bodies = [item.body for item in rig.data.read_now(configs.difference, node, 0).items]
    mine = [one for one in bodies if one is not None and one.endpoint == tunnel]
    (interface,) = (one.options for one in mine if isinstance(one, Endpoint))
    (peer,) = (one.peer for one in mine if isinstance(one, Account))
    assert isinstance(interface, WireGuard)
    assert peer is not None
    return interface, peer


def _serve(running: Programs, place: Place, name: str, interface: WireGuard, peer: Peer, keys: Path) -> None:
    """Bring the interface up with its user."""
    running.start("server", ["wireguard-go", "-f", name], place=place, env={"LOG_LEVEL": "error"})
    listening = _SOCKETS / f"{name}.sock"
    waiting.until(lambda: listening.exists() or None, within_s=10, what="wireguard-go to listen")
    (keys / "private").write_text(interface.private_key)
    (keys / "preshared").write_text(peer.preshared_key or "")
    _done(place, "wg", "set", name, "listen-port", str(_PORT), "private-key", str(keys / "private"))
    secret, allowed = ("preshared-key", str(keys / "preshared")), ",".join(peer.addresses)
    _done(place, "wg", "set", name, "peer", peer.public_key, *secret, "allowed-ips", allowed)
    for address in interface.addresses:
        _done(place, "ip", "address", "add", address, "dev", name, *(["nodad"] if ":" in address else []))
    _done(place, "ip", "link", "set", name, "up", "mtu", str(interface.mtu))


def _carried(node: Place, home: Place, address: str) -> bytes:
    """What comes back of what is sent from the user's side to the interface."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with node.inside():
        server = socket.create_server((address, 0), family=family)
    with server:
        with home.inside():
            client = socket.create_connection(server.getsockname()[:2], timeout=10)
        accepted, _ = server.accept()
        with client, accepted:
            for end in (client, accepted):
                end.settimeout(10)
            client.sendall(b"there and back")
            accepted.sendall(accepted.recv(100))
            return client.recv(100)


@contextmanager
def _connected(place: Place, path: Path) -> Iterator[None]:
    """The user's side while the block runs; a stand-in for resolvconf keeps what it is told beside itself."""
    asked = path.parent / "resolvconf"
    asked.write_text('#!/bin/sh\ncat >> "$0.told"\n')
    asked.chmod(0o755)
    env = {"PATH": f"{path.parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    _done(place, "wg-quick", "up", str(path), env=env)
    try:
        yield
    finally:
        _done(place, "wg-quick", "down", str(path), env=env)


@pytest.mark.parametrize("version", [4, 6])
def test_the_file_from_the_api_brings_up_a_tunnel_that_carries_both_versions(
    tmp_path: Path, version: int
) -> None:
    name = f"tg{secrets.token_hex(3)}"
    home_path, keys = tmp_path / f"{name}c.conf", tmp_path / "keys"
    keys.mkdir()
    with (
        rigs.opened(tmp_path) as rig,
        lab.namespaces(["node", "home"]) as places,
        programs.opened(tmp_path) as running,
    ):
        node, home = places["node"], places["home"]
        if version == 6 and node.address6 is None:
            pytest.skip("this kernel has no IPv6")
        joined, admin = rig.joined(), rig.admin()
        tunnel = rig.tunnel(joined.id, host=node.address if version == 4 else node.address6, port=_PORT)
        user = rig.user("ada", tunnel)
        answer = rig.send("GET", f"/api/v1/users/{user}/wireguard/{tunnel}/config", token=admin)
        home_path.write_text(answer.text)
        home_path.chmod(0o600)
        _serve(running, node, name, *_told(rig, joined.id, tunnel), keys)
        with _connected(home, home_path):
            for address in ("10.66.0.1", "fd00::1"):
                assert _carried(node, home, address) == b"there and back"
            (row,) = (line.split() for line in _done(node, "wg", "show", name, "dump").splitlines()[1:])
            assert int(row[4]) > 0
            assert int(row[5]) > 0
            assert int(row[6]) > 0
        nameservers = (tmp_path / "resolvconf.told").read_text().split()
        assert nameservers == ["nameserver", rigs.DNS[0], "nameserver", rigs.DNS[1]]
