"""Endpoints that come and go while a real Xray runs, and what is left of them."""

import asyncio
import socket
from pathlib import Path

import msgspec
import pytest

from agent.core.served import Served
from agent.drivers import base
from agent.drivers.xray import options, placing, rpc, runfile, sockets
from shared import endpoints
from shared.messages import Endpoint
from shared.names import EndpointId
from tests.agent.drivers.xray import kinds_of_endpoints, rig
from tests.kit import source, vless

pytestmark = pytest.mark.e2e

needs_cut = pytest.mark.skipif(sockets.refusal() is not None, reason=str(sockets.refusal()))


def second(port: int | None = None, **more: object) -> Endpoint:
    """Another endpoint of VLESS."""
    return Endpoint(endpoint=EndpointId(2), protocol="vless", port=port or rig.free_port(), **more)  # type: ignore[arg-type]  # by name


def test_an_endpoint_is_placed_and_withdrawn_and_nobody_else_notices(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig.running(tmp_path, 1) as lab, lab.tunnel(1) as first:
            assert await first.get("/bytes/1000") == 1000
            generation = (await lab.driver.read())[0].generation
            new, guest = second(), rig.account(7, endpoint=2)
            assert await lab.driver.place(new, [guest]) == {}
            async with vless.tunnel(new.port, guest.uuid, lab.source.port, source=rig.HOME) as tunnel:
                assert await tunnel.get("/bytes/50000") == 50_000
                await lab.driver.withdraw(new.endpoint)
                assert not await rig.fetches(new.port, guest.uuid, lab.source.port)
                assert await tunnel.get("/bytes/50000") == 50_000, "its connections live on"
                counts = (await lab.driver.read())[0].counts
                assert counts[rig.meter(7, 2)].down == tunnel.taken
            assert await first.get("/bytes/1000") == 1000
            assert (await lab.driver.read())[0].generation == generation
            assert await lab.driver.served() == rig.serving(lab.port, lab.accounts[1])

    asyncio.run(scenario())


def test_a_withdrawn_endpoint_can_be_placed_again_otherwise(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig.running(tmp_path) as lab:
            guest, port = rig.account(7, endpoint=2), rig.free_port()
            before, after = second(port, transport=endpoints.WebSocket(path="/a")), second(port)
            await lab.driver.withdraw(before.endpoint)  # success, although it is not there
            assert await lab.driver.place(before, [guest]) == {}
            assert await lab.driver.place(before, [guest]) == {}
            with pytest.raises(base.DriverError, match="endpoint 2 is still served otherwise"):
                await lab.driver.place(after, [guest])
            await lab.driver.withdraw(before.endpoint)
            assert await lab.driver.place(after, [guest]) == {}
            assert await rig.fetches(port, guest.uuid, lab.source.port)

    asyncio.run(scenario())


def test_an_endpoint_may_change_its_protocol_without_an_account_of_the_old_kind(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig.running(tmp_path) as lab:
            for kind in kinds_of_endpoints.KINDS:
                changed = kinds_of_endpoints.endpoint(kind, tmp_path, 2)
                guests = [kinds_of_endpoints.account(user, 2) for user in (1, 2)]
                assert await lab.driver.place(changed, guests[:1]) == {}
                assert await lab.driver.add(guests) == {}
                served = await lab.driver.served()
                assert served.endpoints[changed.endpoint] == changed
                assert served.accounts == {rig.meter(one.user, 2): one for one in guests}
                await lab.driver.withdraw(changed.endpoint)
            assert (await lab.driver.status()).problem is None

    asyncio.run(scenario())


def test_a_port_of_another_program_is_named_and_nothing_is_left_behind(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig.running(tmp_path, 1) as lab:
            guest = rig.account(7, endpoint=2)
            with socket.create_server(("127.0.0.1", 0)) as taken:
                new = second(taken.getsockname()[1])
                with pytest.raises(base.DriverError, match="already listens there"):
                    await lab.driver.place(new, [guest])
            assert await lab.driver.place(new, [guest]) == {}
            assert await rig.fetches(new.port, guest.uuid, lab.source.port)

    asyncio.run(scenario())


def test_what_xray_itself_cannot_open_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A port that is taken between the look and the opening: Xray keeps the name of what did not open."""
    monkeypatch.setattr("agent.drivers.xray.ports.taken", lambda _: [])

    async def scenario() -> None:
        async with rig.running(tmp_path, 1) as lab:
            new, guest = second(listen="192.0.2.1"), rig.account(7, endpoint=2)
            with pytest.raises(base.DriverError, match=r"endpoint 2: .*cannot assign requested address"):
                await lab.driver.place(new, [guest])
            async with lab.api() as api:
                assert await api.inbounds() == {"e1"}
            run = runfile.read(lab.chosen.run_dir)
            assert run is not None
            assert [place.endpoint for place in run.places] == [1]
            assert await lab.driver.place(msgspec.structs.replace(new, listen="127.0.0.1"), [guest]) == {}
            assert await lab.works(1)

    asyncio.run(scenario())


def test_wrong_accounts_of_a_new_endpoint_are_refused_and_the_others_served(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig.running(tmp_path) as lab:
            good, bad = rig.account(7, endpoint=2), rig.account(8, "abc", endpoint=2)
            twin = rig.account(9, good.uuid, endpoint=2)
            refused = await lab.driver.place(second(), [good, bad, twin])
            assert set(refused) == {rig.meter(8, 2), rig.meter(9, 2)}
            assert (await lab.driver.served()).accounts == {rig.meter(7, 2): good}

    asyncio.run(scenario())


def test_more_accounts_than_a_message_takes_are_placed_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placing, "MAX_MESSAGE_BYTES", 20_000)

    async def scenario() -> None:
        async with rig.running(tmp_path) as lab:
            many = [rig.account(user, endpoint=2) for user in range(1, 1001)]
            assert await lab.driver.place(second(), many) == {}
            assert (await lab.driver.served()).accounts == {rig.meter(one.user, 2): one for one in many}

    asyncio.run(scenario())


def test_forty_thousand_accounts_stay_below_what_xray_takes(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig.running(tmp_path) as lab:
            many = [rig.account(user, endpoint=2) for user in range(1, 40_001)]
            assert await lab.driver.place(second(), many) == {}
            assert len((await lab.driver.served()).accounts) == 40_000

    asyncio.run(scenario())


def test_the_next_agent_finds_what_was_placed_and_what_changed(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig.running(tmp_path, 1) as lab:
            new, guest = second(transport=endpoints.Grpc(service="a")), rig.account(7, endpoint=2)
            await lab.driver.place(new, [guest])
            wanted = await lab.driver.served()
            await lab.driver.leave()
            assert await lab.driver.adopt(wanted) == base.Adopted(wanted)
            changed = msgspec.structs.replace(new, transport=endpoints.Grpc(service="b"))
            expected = {**wanted.endpoints, EndpointId(2): changed}
            await lab.driver.leave()
            adopted = await lab.driver.adopt(Served(expected, wanted.accounts))
            assert adopted is not None
            assert not adopted.stale
            assert adopted.served.endpoints[EndpointId(1)] == wanted.endpoints[EndpointId(1)]
            assert adopted.served.endpoints[EndpointId(2)] not in (new, changed)
            await lab.driver.withdraw(EndpointId(2))
            assert await lab.driver.place(changed, [guest]) == {}

    asyncio.run(scenario())


def test_a_certificate_that_is_missing_is_an_obstacle_until_it_is_there(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig.running(tmp_path) as lab:
            made = kinds_of_endpoints.endpoint("hysteria", tmp_path, 2)
            hidden = (tmp_path / "key.pem").rename(tmp_path / "away.pem")
            assert "key.pem cannot be read" in (await lab.driver.obstacles([made]))[made.endpoint]
            hidden.rename(tmp_path / "key.pem")
            assert await lab.driver.obstacles([made]) == {}
            assert await lab.driver.place(made, []) == {}

    asyncio.run(scenario())


@needs_cut
def test_the_fence_knows_what_was_placed_and_what_was_withdrawn(tmp_path: Path) -> None:
    """Of a host that outlives its agent; both must be in the run file, which the agent keeps."""
    chosen = options.Options(
        run_dir=tmp_path / "run", lock_file=tmp_path / "lock", fence_s=1.0, allow_private_targets=True
    )

    async def scenario() -> None:
        new, guest = second(), rig.account(7, endpoint=2)
        with source.Source() as bytes_from:
            async with rig.driven(chosen) as made:
                with rig.locked(chosen.lock_file):
                    await made.start(rig.serving(rig.free_port()))
                    assert await made.place(new, [guest]) == {}
                async with vless.tunnel(new.port, guest.uuid, bytes_from.port, source=rig.HOME) as tunnel:
                    assert await tunnel.get("/bytes/1000") == 1000
                    async with asyncio.timeout(10):
                        assert await tunnel.ended()
                await rig.until(lambda: _closed(chosen))

    asyncio.run(scenario())


async def _closed(chosen: options.Options) -> bool:
    api = rpc.Api(chosen.api)
    try:
        return not await api.inbounds()
    finally:
        await api.close()
