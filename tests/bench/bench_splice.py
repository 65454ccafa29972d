"""What counting live costs: CPU of Xray a gigabyte of TLS 1.3 through vision, without and with splice.

A real client pulls from a site on the same machine; only the CPU of the host that holds Xray is counted. With
splice the counter of such a download stands still until it ends, so a quota is no bound.
"""

import asyncio
import ssl
import tempfile
from pathlib import Path

import psutil

from agent.core.counting import Meter
from agent.core.served import Served
from agent.drivers.xray import runfile
from agent.drivers.xray.driver import XrayDriver
from agent.drivers.xray.options import Options
from shared import endpoints
from tests.bench.asked import Asked
from tests.bench.figure import Figure
from tests.kit import download, lab, programs
from tests.matrix import keys, play
from tests.matrix.combinations import CLIENTS, Combination, Ground
from tests.matrix.site import Site

_BYTES, _QUICK_BYTES = 2_000_000_000, 50_000_000
_CLIENT = "sing-box"
_USER = CLIENTS[_CLIENT]


def measure(asked: Asked) -> list[Figure]:
    """CPU-seconds a gigabyte: as it is by default, and as the operator may choose."""
    size = _QUICK_BYTES if asked.quick else _BYTES
    with lab.opened([]) as places, places["hub"].inside():
        figures = [_measured(places["hub"], size, splice=splice) for splice in (False, True)]
    names = ("CPU of Xray, counted live", "CPU of Xray, spliced by the kernel")
    return [
        Figure(name=name, value=round(value, 2), unit="s/GB")
        for name, value in zip(names, figures, strict=True)
    ]


def _measured(place: lab.Place, size: int, *, splice: bool) -> float:
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as name:
        directory = Path(name)
        certificate = keys.certificate(directory)
        with Site(certificate, place.address) as site, programs.opened(directory) as running:
            ground = Ground(place.address, [place.free_port()], certificate, "")
            vision = endpoints.Vless(flow="xtls-rprx-vision")
            way = ground.one("vless", security=ground.tls(), options=vision)
            port = place.free_port()
            play.start(running, directory, _CLIENT, {port: way}, place, certificate)
            return asyncio.run(_pulled(directory, way, (port, site.port, size), place, splice=splice))


async def _pulled(
    directory: Path, way: Combination, job: tuple[int, int, int], place: lab.Place, *, splice: bool
) -> float:
    chosen = Options(
        run_dir=directory / "run", lock_file=directory / "lock", allow_private_targets=True, splice=splice
    )
    driver, account = XrayDriver(chosen), way.account(_USER)
    await driver.start(
        Served({account.endpoint: way.endpoint}, {Meter(account.user, account.endpoint): account})
    )
    try:
        run = runfile.read(chosen.run_dir)
        host = psutil.Process(run.pid if run else None)
        before = host.cpu_times()
        await asyncio.to_thread(_pull, place, *job)
        after = host.cpu_times()
    finally:
        await driver.stop()
    return (after.user + after.system - before.user - before.system) / (job[2] / 1e9)


def _pull(place: lab.Place, socks_port: int, site_port: int, size: int) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    target = (place.address, site_port)
    with (
        download.connect(("127.0.0.1", socks_port), target, timeout_s=10.0) as plain,
        context.wrap_socket(plain) as sealed,
    ):
        sealed.sendall(f"GET /bytes/{size}".encode())
        left, taken = size, bytearray(1 << 18)
        while left > 0 and (count := sealed.recv_into(taken)):
            left -= count
        if left:
            raise ConnectionResetError(f"{left} of {size} bytes did not arrive")
