"""That bytes inside TLS are counted while they pass, also those that vision would hand to the kernel."""

import asyncio
import ssl
import threading
from pathlib import Path

import pytest

from agent.core.served import Served
from agent.drivers.xray import driver
from shared import endpoints
from shared.names import EndpointId
from tests.agent.drivers.xray import rig
from tests.kit import download, lab, programs
from tests.matrix import keys, play
from tests.matrix.combinations import CLIENTS, Combination, Ground
from tests.matrix.site import Site

pytestmark = pytest.mark.e2e

_USER = CLIENTS["xray"]
_RATE, _BYTES = 10_000_000, 20_000_000
_HERE = lab.Place("here", "127.0.0.1")


class Pull(threading.Thread):
    """A download inside TLS 1.3 through a client's SOCKS port; `taken` is what has arrived."""

    def __init__(self, socks_port: int, site: Site) -> None:
        super().__init__(daemon=True)
        self.taken = 0
        self._socks_port, self._site = socks_port, site

    def run(self) -> None:
        """Take it all."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        target = (_HERE.address, self._site.port)
        with (
            download.connect((_HERE.address, self._socks_port), target, timeout_s=10.0) as plain,
            context.wrap_socket(plain) as sealed,
        ):
            sealed.sendall(f"GET /bytes/{_BYTES}".encode())
            while self.taken < _BYTES and (chunk := sealed.recv(1 << 16)):
                self.taken += len(chunk)


@pytest.mark.parametrize("security", ["tls", "reality"])
def test_a_long_download_through_vision_is_counted_while_it_passes(tmp_path: Path, security: str) -> None:
    """Two seconds of ten megabytes each; where the kernel splices, all of it is counted at the end."""
    certificate = keys.certificate(tmp_path)

    async def scenario(site: Site, running: programs.Programs) -> None:
        ground = Ground(_HERE.address, [rig.free_port()], certificate, f"{_HERE.address}:{site.port}")
        way = ground.one(
            "vless",
            security=ground.tls() if security == "tls" else ground.reality(),
            options=endpoints.Vless(flow="xtls-rprx-vision"),
        )
        chosen = rig.choose(tmp_path)
        with rig.locked(chosen.lock_file):
            async with rig.driven(chosen) as made:
                await made.start(_served(way))
                port = rig.free_port()
                play.start(running, tmp_path, "xray", {port: way}, _HERE, certificate)
                pull = Pull(port, site)
                pull.start()
                behind = await _watched(made, pull)
                assert pull.taken == _BYTES
                # A reading takes milliseconds: what it lacks is what passed meanwhile.
                assert max(behind) < _RATE / 2
                assert len(behind) > 10

    with Site(certificate, _HERE.address, rate=_RATE) as site, programs.opened(tmp_path) as running:
        asyncio.run(scenario(site, running))


async def _watched(core: driver.XrayDriver, pull: Pull) -> list[int]:
    """How many bytes had arrived that were not counted, at each of many looks."""
    behind: list[int] = []
    while pull.is_alive():
        taken = pull.taken
        counts = (await core.read())[0].counts.get(rig.meter(_USER))
        behind.append(taken - (counts.down if counts else 0))
        await asyncio.to_thread(pull.join, 0.1)
    return behind


def _served(way: Combination) -> Served:
    account = way.account(_USER)
    return Served({EndpointId(1): way.endpoint}, {rig.meter(account.user): account})
