"""Cutting live connections of a real Xray: exactly those, and at once."""

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path

import pytest

from agent.core import counting
from agent.drivers import base
from agent.drivers.xray import carriers, control, cutting, sockets
from shared.names import EndpointId
from tests.agent.drivers.xray import rig
from tests.kit import vless

REFUSAL = sockets.refusal()

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(REFUSAL is not None, reason=f"connections cannot be cut here: {REFUSAL}"),
]


class Forgetful(control.Control):
    """A host that has never heard of one account's connections."""

    forgotten = ""

    async def known(self, emails: Iterable[str] | None) -> control.Known:
        known = await super().known(emails)
        kept = {email: peers for email, peers in known.streams.items() if email != self.forgotten}
        return control.Known(kept)


class Sharing(control.Control):
    """A host that heard of somebody else on every connection."""

    async def known(self, emails: Iterable[str] | None) -> control.Known:
        known = await super().known(emails)
        others = {email: dict.fromkeys(peers, frozenset({"u2-e1"})) for email, peers in known.streams.items()}
        return control.Known(known.streams, sharers=others)


class Nowhere:
    """A place without clients on UDP."""

    async def bar(self, clients: Mapping[counting.Meter, tuple[int, AbstractSet[sockets.Peer]]]) -> bool:
        raise AssertionError(clients)


def test_a_cut_user_loses_all_connections_and_his_neighbour_none(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with (
            rig.running(tmp_path, 1, 2) as lab,
            lab.tunnel(1) as one,
            lab.tunnel(1) as two,
            lab.tunnel(2) as neighbour,
        ):
            for tunnel in (one, two):
                await tunnel.request("/bytes/50000000?rate=2000000")
            left = await neighbour.request("/bytes/3000000?rate=6000000")
            await lab.driver.block([rig.meter(1)])
            assert await lab.driver.cut([rig.meter(1)]) == base.Cut(2, left=False)
            assert await one.ended()
            assert await two.ended()
            while left > 0:
                taken = len(await neighbour.take())
                assert taken
                left -= taken

    asyncio.run(scenario())


def test_what_passed_before_the_cut_is_in_the_next_reading(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig.running(tmp_path, 1) as lab, lab.tunnel(1) as tunnel:
            await tunnel.request("/bytes/50000000")
            while tunnel.taken < 5_000_000:
                await tunnel.take()
            await lab.driver.block([rig.meter(1)])
            await lab.driver.cut([rig.meter(1)])
            await tunnel.ended()
            assert (await lab.driver.read())[0].counts[rig.meter(1)].down >= tunnel.taken

    asyncio.run(scenario())


def test_an_idle_connection_is_cut_too(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig.running(tmp_path, 1) as lab, lab.tunnel(1) as tunnel:
            assert await tunnel.get("/bytes/10") == 10
            assert (await lab.driver.cut([rig.meter(1)])).ended == 1
            async with asyncio.timeout(2):
                await tunnel.ended()

    asyncio.run(scenario())


def test_a_user_at_the_loopback_address_itself_is_cut_too(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig.running(tmp_path, 1) as lab, lab.tunnel(1, home="127.0.0.1") as tunnel:
            assert await tunnel.get("/bytes/10") == 10
            assert await lab.driver.cut([rig.meter(1)]) == base.Cut(1, left=False)

    asyncio.run(scenario())


def test_cutting_who_is_not_there_ends_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig.running(tmp_path, 1, 2) as lab, lab.tunnel(2) as tunnel:
            assert await tunnel.get("/bytes/10") == 10
            assert await lab.driver.cut([rig.meter(1), rig.meter(9, 9)]) == base.Cut(0, left=False)
            assert await tunnel.get("/bytes/10") == 10

    asyncio.run(scenario())


def test_a_user_who_just_left_is_not_said_to_be_left(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig.running(tmp_path, 1) as lab:
            assert await lab.works(1)  # Xray thinks him online for another second
            assert not (await lab.driver.cut([rig.meter(1)])).left

    asyncio.run(scenario())


def test_a_connection_nobody_was_named_for_is_found_by_elimination(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig.running(tmp_path, 1, 2) as lab, lab.api() as api:
            host = Forgetful(lab.chosen.control)
            host.forgotten = "u1-e1"
            cutter = cutting.Cutter(api, host, {EndpointId(1): carriers.Carriers(port=lab.port)}, Nowhere())
            async with (
                lab.tunnel(1) as lost,
                lab.tunnel(2) as neighbour,
                lab.tunnel(2, home="127.0.0.6") as far,
            ):
                for tunnel in (lost, neighbour, far):
                    assert await tunnel.get("/bytes/10") == 10
                await lab.driver.block([rig.meter(1)])
                assert await cutter.cut([rig.meter(1)]) == base.Cut(1, left=False)
                assert await lost.ended()
                for tunnel in (neighbour, far):
                    assert await tunnel.get("/bytes/10") == 10

    asyncio.run(scenario())


def test_where_nobody_tells_who_is_online_a_connection_that_was_shared_is_left_alone(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig.running(tmp_path, 1, 2) as lab, lab.api() as api, lab.tunnel(1) as tunnel:
            assert await tunnel.get("/bytes/10") == 10
            await rig.until(lambda: lab.heard(1))
            api.tells_online = False
            shared = {EndpointId(1): carriers.Carriers(port=lab.port, shared=True)}
            cutter = cutting.Cutter(api, Sharing(lab.chosen.control), shared, Nowhere())
            assert await cutter.cut([rig.meter(1)]) == base.Cut(0, left=True)
            assert cutter.sharing == {1}
            assert await tunnel.get("/bytes/10") == 10

    asyncio.run(scenario())


def test_cut_all_ends_everybody_and_lets_nobody_back(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig.running(tmp_path, 1, 2) as lab, lab.tunnel(1) as one, lab.tunnel(2) as two:
            for tunnel in (one, two):
                await tunnel.request("/bytes/50000000?rate=2000000")
            assert await lab.driver.cut_all() == base.Cut(2, left=False)
            (last,) = await lab.driver.read()
            assert await one.ended()
            assert await two.ended()
            assert last.counts[rig.meter(1)].down >= one.taken
            assert not await lab.works(1)
            assert (await lab.driver.served()).endpoints == {}
            assert await lab.driver.read() == [last]

    asyncio.run(scenario())


def test_one_user_among_many_connections_is_cut_alone(tmp_path: Path) -> None:
    async def scenario() -> None:
        users = range(1, 31)
        async with rig.running(tmp_path, *users) as lab, contextlib.AsyncExitStack() as stack:
            tunnels = [
                (user, await stack.enter_async_context(lab.tunnel(user))) for user in users for _ in "ab"
            ]
            for _, tunnel in tunnels:
                assert await tunnel.get("/bytes/10") == 10
            assert (await lab.driver.cut([rig.meter(17)])).ended == 2
            for user, tunnel in tunnels:
                assert await _alive(tunnel) == (user != 17)

    asyncio.run(scenario())


async def _alive(tunnel: vless.Tunnel) -> bool:
    try:
        return await tunnel.get("/bytes/10") == 10
    except (vless.RefusedError, ConnectionError):
        return False


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root and setpriv")
def test_without_the_capability_nothing_is_cut_that_is_said_and_an_xray_left_alone_ends(
    tmp_path: Path,
) -> None:
    done = subprocess.run(
        [
            "setpriv",
            "--bounding-set=-net_admin",
            "--inh-caps=-net_admin",
            *(sys.executable, "-m", "tests.agent.drivers.xray.powerless", str(tmp_path)),
        ],
        cwd=Path(__file__).resolve().parents[4],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    said = json.loads(done.stdout)
    assert "CAP_NET_ADMIN is missing" in said.pop("limitations")[0]
    assert "nobody can be cut off (the capability CAP_NET_ADMIN is missing): ending" in said.pop("exit")
    assert said == {"cut": [0, True], "cut_all": [0, True], "alive": True}
