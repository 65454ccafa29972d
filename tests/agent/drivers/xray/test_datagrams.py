"""Clients on UDP under a real Xray: cut by what the kernel drops, let back in, and nothing left behind."""

import asyncio
import contextlib
import dataclasses
from collections.abc import Iterable
from pathlib import Path
from unittest import mock

import msgspec
import pytest

from agent.drivers import nft
from agent.drivers.xray import barrier, control, sockets
from shared.names import EndpointId
from tests.agent.drivers.xray import carried, rig, ways
from tests.kit import lab as places
from tests.kit import socks, vless

REFUSAL = places.why_no_namespaces() or sockets.refusal() or nft.refusal()

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.netns,
    pytest.mark.skipif(REFUSAL is not None, reason=f"clients cannot be cut here: {REFUSAL}"),
]

_QUIET_S = 0.3


@pytest.mark.parametrize("way", [ways.SHADOWSOCKS, ways.SHADOWSOCKS_2022], ids=["classic", "2022"])
def test_datagrams_of_a_cut_user_stop_both_ways_and_a_neighbour_s_go_on(
    tmp_path: Path, way: ways.Way
) -> None:
    async def scenario() -> None:
        async with (
            carried.running(tmp_path, way, 1, 2) as lab,
            lab.client(1) as cut,
            lab.client(2) as neighbour,
            cut.datagrams() as asking,
            cut.datagrams() as pulling,
            neighbour.datagrams() as lives,
        ):
            for datagrams in (asking, pulling, lives):
                assert await datagrams.answered()
            for datagrams in (pulling, lives):
                datagrams.send(b"pour:100000:500:200:")
            await rig.until(lambda: lab.heard(3))
            await _flows(pulling)
            await lab.cut(1)
            await asyncio.sleep(_QUIET_S)  # what was on its way may arrive
            before, asked = pulling.taken, lab.echo.taken
            assert not await asking.answered(within_s=0.5)
            assert lab.echo.taken == asked
            assert pulling.taken == before
            await _flows(lives)
            async with cut.datagrams() as anew:
                assert not await anew.answered(within_s=0.5)
                assert await neighbour.works()
            assert await lab.driver.add([ways.account(1)]) == {}
            assert await asking.answered(within_s=3)

    carried.run(scenario)


async def _flows(datagrams: socks.Datagrams) -> None:
    before = datagrams.taken

    async def more() -> bool:
        return datagrams.taken > before + 2000

    await rig.until(more)


def test_who_is_served_again_is_let_through_at_once_and_only_with_the_credential_he_had(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with carried.running(tmp_path, ways.MKCP, 1, 2) as lab, contextlib.AsyncExitStack() as stack:
            for user in (1, 2):
                client = await stack.enter_async_context(lab.client(user))
                tunnel = await stack.enter_async_context(client.tunnel())
                assert await tunnel.get("/bytes/10") == 10
            await rig.until(lambda: lab.heard(2))
            await lab.cut(1, 2)
            assert len(_blocked(lab)) == 2
            anew = rig.account(2, ways.credential(3))
            assert await lab.driver.add([ways.account(1), anew]) == {}
            known = await lab.known()
            (still,) = _blocked(lab)
            assert still in known.datagrams["u2-e1"]
            async with lab.client(1) as again:
                assert await again.works()

    carried.run(scenario)


def _blocked(lab: carried.Lab) -> set[sockets.Peer]:
    table = barrier.table_name(lab.chosen.run_dir, "udp")
    return {sockets.peer(address, port) for address, port, _ in nft.elements(table, "cut4")}


def test_a_cut_comes_through_although_somebody_emptied_the_packet_filter(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with (
            carried.running(tmp_path, ways.HYSTERIA, 1) as lab,
            lab.client(1) as client,
            client.tunnel() as tunnel,
        ):
            assert await tunnel.get("/bytes/10") == 10
            await rig.until(lambda: lab.heard(1))
            nft.run("flush ruleset\n")
            await lab.cut(1)
            assert not await client.works(within_s=0.5)

    carried.run(scenario)


def test_tables_are_there_while_they_are_needed_and_leftovers_go(tmp_path: Path) -> None:
    async def scenario() -> None:
        left_over = barrier.table_name(rig.choose(tmp_path).run_dir, "udp")
        nft.run(barrier.watching(left_over, {1}))
        nft.run(barrier.blocking(left_over, {1: barrier.Wanted({sockets.peer("192.0.2.1", 1)})}))
        async with carried.running(tmp_path, ways.WEBSOCKET, 1) as lab:
            assert not _tables()
            await lab.driver.stop()
            await lab.driver.start(carried.served(ways.HYSTERIA, lab.port, 1))
            assert _tables() == {left_over}
            assert not _blocked(lab)
            await lab.driver.stop()
            assert not _tables()

    carried.run(scenario)


def _tables() -> set[str]:
    return set(nft.tables())


def test_a_client_that_hops_between_ports_is_cut_wherever_it_goes(tmp_path: Path) -> None:
    def hopping(configuration: ways.Config) -> None:
        outbound = configuration["outbounds"][0]
        port = outbound.pop("server_port")
        outbound |= {"server_ports": [f"{port}:{port}"], "hop_interval": "5s"}

    async def scenario() -> None:
        async with (
            carried.running(tmp_path, ways.HYSTERIA, 1, 2) as lab,
            lab.client(1, edit=hopping) as client,
            lab.client(2, edit=hopping) as other,
            client.tunnel() as tunnel,
            other.tunnel() as neighbour,
        ):
            for one in (tunnel, neighbour):
                await one.request("/bytes/500000000?rate=1000000")
            await rig.until(lambda: lab.heard(2))
            async with asyncio.TaskGroup() as group:
                reading = [group.create_task(_drain(one)) for one in (tunnel, neighbour)]
                await rig.until(lambda: _hopped(lab, 4), within_s=15)
                await lab.cut(1)
                await asyncio.sleep(_QUIET_S)
                taken, before = tunnel.taken, neighbour.taken
                await rig.until(lambda: _hopped(lab, 5), within_s=15)
                await rig.until(lambda: _more(neighbour, before + 8_000_000), within_s=15)
                assert tunnel.taken == taken
                for task in reading:
                    task.cancel()

    carried.run(scenario)


async def _hopped(lab: carried.Lab, addresses: int) -> bool:
    return len((barrier.seen(lab.chosen.run_dir) or {})[lab.port]) >= addresses


async def _more(tunnel: vless.Tunnel, taken: int) -> bool:
    return tunnel.taken >= taken


async def _drain(tunnel: vless.Tunnel) -> None:
    with contextlib.suppress(ConnectionError):
        while await tunnel.take():
            continue


def test_an_endpoint_that_was_placed_later_is_cut_on_as_well(tmp_path: Path) -> None:
    async def scenario() -> None:
        port = rig.free_port()
        later = msgspec.structs.replace(ways.endpoint(ways.HYSTERIA, port), endpoint=EndpointId(2))
        account = msgspec.structs.replace(ways.account(1), endpoint=later.endpoint)
        async with carried.running(tmp_path, ways.PLAIN, 1) as lab:
            assert await lab.driver.place(later, [account]) == {}
            hysteria = dataclasses.replace(lab, way=ways.HYSTERIA)
            async with hysteria.client(1, port=port) as client, client.tunnel() as tunnel:
                assert await tunnel.get("/bytes/10") == 10
                await rig.until(lambda: lab.heard(1))
                assert len(await lab.driver.sessions()) == 1
                await lab.driver.block([rig.meter(1, 2)])
                cut = await lab.driver.cut([rig.meter(1, 2)])
                assert (cut.ended, cut.left) == (1, False)
                assert not await client.works(within_s=0.5)
            await lab.driver.withdraw(later.endpoint)
            assert not _tables()

    carried.run(scenario)


def test_without_the_packet_filter_a_cut_says_that_it_is_not_one(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with (
            carried.running(tmp_path, ways.HYSTERIA, 1) as lab,
            lab.client(1) as client,
            client.tunnel() as tunnel,
        ):
            assert await tunnel.get("/bytes/10") == 10
            await rig.until(lambda: lab.heard(1))
            await lab.driver.block([rig.meter(1)])
            assert (await lab.driver.cut([rig.meter(1)])).left
            assert any("Clients on UDP cannot be cut" in said for said in lab.driver.limitations)

    with mock.patch.object(nft, "refusal", return_value="the program nft is missing (package nftables)"):
        carried.run(scenario)


def test_who_is_online_by_what_nobody_was_told_of_is_said_to_be_left(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with (
            carried.running(tmp_path, ways.HYSTERIA, 1) as lab,
            lab.client(1) as client,
            client.tunnel() as tunnel,
        ):
            assert await tunnel.get("/bytes/10") == 10
            await rig.until(lambda: lab.heard(1))
            await lab.driver.block([rig.meter(1)])
            with mock.patch.object(control.Control, "known", _nothing):
                assert (await lab.driver.cut([rig.meter(1)])).left

    carried.run(scenario)


async def _nothing(_host: control.Control, _emails: Iterable[str] | None) -> control.Known:
    return control.Known()
