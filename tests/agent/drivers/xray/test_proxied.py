"""Cuts behind a proxy before Xray: what can be cut is; what carries others is left alone, and that said."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.drivers import nft
from agent.drivers.xray import sockets
from tests.agent.drivers.xray import carried, rig, ways
from tests.kit import lab as places
from tests.kit import netns, programs

REFUSAL = places.why_no_namespaces() or sockets.refusal() or nft.refusal()

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.netns,
    pytest.mark.skipif(REFUSAL is not None, reason=f"clients cannot be cut here: {REFUSAL}"),
]


#: Who connects to an address that is not of the loopback network does so from that address.
_FAR = "10.213.148.1"


@contextlib.asynccontextmanager
async def _proxy(port: int, *, says_who: bool = False) -> AsyncIterator[int]:
    """A proxy of connections: each has one of its own to the server, perhaps beginning with whose it is."""
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        writers.extend((writer, far_writer))
        if says_who:
            host, client_port = writer.get_extra_info("peername")
            far_writer.write(f"PROXY TCP4 {host} 127.0.0.1 {client_port} {port}\r\n".encode())
        await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for writer in writers:
            writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()


def test_a_proxy_with_a_connection_for_each_client_hinders_no_cut(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with (
            carried.running(tmp_path, ways.WEBSOCKET, 1, 2) as lab,
            _proxy(lab.port) as front,
            lab.client(1, port=front) as one,
            lab.client(2, port=front) as other,
            one.tunnel() as cut,
            other.tunnel() as neighbour,
        ):
            for tunnel in (cut, neighbour):
                assert await tunnel.get("/bytes/10") == 10
            await rig.until(lambda: lab.heard(2))
            await lab.cut(1)
            async with asyncio.timeout(2):
                await cut.ended()
            assert await neighbour.get("/bytes/10") == 10
            assert not await one.works(within_s=1)

    carried.run(scenario)


def test_a_cut_behind_a_proxy_that_says_who_comes_is_refusal_only_and_says_so(tmp_path: Path) -> None:
    accepts = {"sockopt": {"acceptProxyProtocol": True}}
    way = ways.Way(extra={"streamSettings": accepts})

    async def scenario() -> None:
        async with (
            carried.running(tmp_path, way, 1, 2) as lab,
            _proxy(lab.port, says_who=True) as front,
            lab.client(1, port=front) as one,
            lab.client(2, port=front) as other,
            one.tunnel() as stopped,
            other.tunnel() as neighbour,
        ):
            for tunnel in (stopped, neighbour):
                assert await tunnel.get("/bytes/10") == 10
            await rig.until(lambda: lab.heard(2))
            (said,) = lab.driver.limitations
            assert said.startswith("Endpoint 1 is told of its clients by a proxy")
            await lab.driver.block([rig.meter(1)])
            cut = await lab.driver.cut([rig.meter(1)])
            assert (cut.ended, cut.left) == (0, True)
            assert await neighbour.get("/bytes/10") == 10
            assert await stopped.get("/bytes/10") == 10
            assert not await one.works(within_s=1)

    carried.run(scenario)


def test_a_connection_that_carries_neighbours_too_is_left_alone_until_they_are_gone(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with (
            carried.running(tmp_path, ways.GRPC, 1, 2) as lab,
            _cdn(f"{_FAR}:{lab.port}") as front,
            lab.client(1, port=front) as one,
            one.tunnel() as stopped,
        ):
            async with lab.client(2, port=front) as other, other.tunnel() as neighbour:
                for tunnel in (stopped, neighbour):
                    assert await tunnel.get("/bytes/10") == 10
                await rig.until(lambda: lab.heard(2))
                await lab.driver.block([rig.meter(1)])
                cut = await lab.driver.cut([rig.meter(1)])
                assert (cut.ended, cut.left) == (0, True)
                assert any("carry several users" in said for said in lab.driver.limitations)
                assert await neighbour.get("/bytes/10") == 10
                assert not await one.works(within_s=1)
            await rig.until(lambda: _cut_at_last(lab), within_s=10)
            async with asyncio.timeout(2):
                await stopped.ended()

    carried.run(scenario)


def test_a_connection_of_a_proxy_beside_xray_that_was_shared_once_is_never_cut(tmp_path: Path) -> None:
    """Xray has nobody online from the loopback address, so who is still there cannot be known."""

    async def scenario() -> None:
        async with (
            carried.running(tmp_path, ways.GRPC, 1, 2) as lab,
            _cdn(f"127.0.0.1:{lab.port}") as front,
            lab.client(1, port=front) as one,
            lab.client(2, port=front) as other,
            one.tunnel() as stopped,
            other.tunnel() as neighbour,
        ):
            for tunnel in (stopped, neighbour):
                assert await tunnel.get("/bytes/10") == 10
            await rig.until(lambda: lab.heard(2))
            await lab.driver.block([rig.meter(1)])
            cut = await lab.driver.cut([rig.meter(1)])
            assert (cut.ended, cut.left) == (0, True)
            assert await neighbour.get("/bytes/10") == 10

    carried.run(scenario)


async def _cut_at_last(lab: carried.Lab) -> bool:
    cut = await lab.driver.cut([rig.meter(1)])
    return cut.ended == 1 and not cut.left


@contextlib.asynccontextmanager
async def _cdn(server: str) -> AsyncIterator[int]:
    netns.ip("addr", "replace", f"{_FAR}/32", "dev", "lo")
    program = await asyncio.create_subprocess_exec(
        *programs.python("tests.kit.grpc_proxy", server, "/tun/Tun"),
        stdout=asyncio.subprocess.PIPE,
        env=programs.clean_environment(),
    )
    try:
        assert program.stdout is not None
        yield int(await program.stdout.readline())
    finally:
        program.kill()
        await program.wait()
