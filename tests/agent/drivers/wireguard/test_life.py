"""Interfaces and their processes: made, killed, taken over, and gone without a trace; totals never fall."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from agent.core.counting import Meter
from agent.core.served import Served
from agent.drivers import base
from agent.drivers.wireguard import books, driver, options, register
from shared.endpoints import Rate
from shared.messages import Account, Endpoint
from tests.agent.drivers.wireguard import owner, rig
from tests.kit import netns, programs, waiting, wireguard

pytestmark = rig.real
ANNA, BEN = wireguard.user(2), wireguard.user(3)
OLGA = wireguard.user(4, pool="10.67", six=None)
#: A client's own timer finds out that its session is dead, and makes a new one (15 s at most).
BACK_S = 30.0


def test_a_daemon_killed_under_load_is_made_anew_and_nothing_that_was_read_is_lost(tmp_path: Path) -> None:
    async def play(at: rig.Rig) -> None:
        await at.driver.place(_second(at), [OLGA.account(endpoint=2)])
        with at.client(ANNA), at.up(ANNA) as up:
            wireguard.connected(up)
            with _load(up):
                before = await at.total(ANNA)
                await rig.until(lambda: _grown(at, before.up + 100_000))
                read = await at.total(ANNA)
                exited = asyncio.ensure_future(at.driver.exited())
                os.kill(_daemon(at), signal.SIGKILL)
                assert "endpoint 1: wireguard-go was ended by signal 9" in await exited
                status = await at.driver.status()
                assert not status.running
                (left,) = await at.driver.read()
                assert left.source == at.chosen.interface(_second(at).endpoint)
                wanted = wireguard.serving(at.endpoint, ANNA.account())
                second, olga = _second(at), OLGA.account(endpoint=2)
                endpoints = {**wanted.endpoints, second.endpoint: second}
                accounts = {**wanted.accounts, Meter(olga.user, olga.endpoint): olga}
                await at.driver.start(Served(endpoints, accounts))
                assert (await at.driver.status()).problem is None
                again = await at.driver.read()
                assert [one.generation == left.generation for one in again].count(True) == 1
                assert await at.total(ANNA) == read
            up.arrived()
            waiting.until(lambda: up.passes(within_s=0.5), within_s=BACK_S, what="the client to come back")
            assert (await at.total(ANNA)).up > read.up

    rig.run(tmp_path, play, ANNA.account())


def test_an_agent_killed_under_load_leaves_sessions_for_the_next_one(tmp_path: Path) -> None:
    async def play(at: rig.Rig) -> None:
        await at.driver.stop()
        limited = BEN.account(Rate(down_kbps=4000))
        with (
            _owner(at, ANNA.account(), limited) as (child, generation),
            at.client(ANNA) as client,
            at.up(ANNA) as up,
        ):
            wireguard.connected(up)
            handshake = client.handshakes()
            with _load(up):
                child.kill()
                child.wait()
                async with rig.another(at.chosen) as following:
                    adopted = await following.adopt(Served())
                    assert adopted is not None
                    assert not adopted.stale
                    expected = {
                        ANNA.meter: books.normal(ANNA.account()),
                        BEN.meter: books.normal(limited),
                    }
                    assert adopted.served == Served({at.endpoint.endpoint: at.endpoint}, expected)
                    (first,) = await following.read()
                    assert first.generation == generation
                    assert first.counts[ANNA.meter].up > 0
                    await rig.until(lambda: _more(following, first.counts[ANNA.meter].up))
                    await following.start(wireguard.serving(at.endpoint, ANNA.account(), limited))
                    assert (await following.read())[0].generation == generation
                    assert "htb" in wireguard.ran("tc", "qdisc", "show", "dev", at.interface)
            up.arrived()
            assert up.passes()
            assert client.handshakes() == handshake

    rig.run(tmp_path, play)


def test_who_was_blocked_is_still_so_for_the_next_agent_and_what_he_sends_is_nobody_s(tmp_path: Path) -> None:
    async def play(at: rig.Rig) -> None:
        with at.client(ANNA) as client, at.up(ANNA) as up:
            wireguard.connected(up)
            await at.cut(ANNA)
            blocked = await at.total(ANNA)
            await at.driver.leave()
            for _ in range(20):
                up.throw(1000)
            async with rig.another(at.chosen) as following:
                adopted = await following.adopt(Served())
                assert adopted is not None
                assert adopted.served.accounts == {}
                (reading,) = await following.read()
                assert reading.counts[ANNA.meter] == blocked
                handshake = client.handshakes()
                assert await following.add([ANNA.account()]) == {}
                waiting.until(up.passes, within_s=5, what="the session to go on")
                assert client.handshakes() == handshake

    rig.run(tmp_path, play, ANNA.account())


def test_a_register_that_is_lost_lets_the_interface_be_made_anew(tmp_path: Path) -> None:
    async def play(at: rig.Rig) -> None:
        (path,) = register.found(at.chosen.run_dir)
        daemon = _daemon(at)
        await at.driver.leave()
        path.unlink()
        async with rig.another(at.chosen) as following:
            assert await following.adopt(Served()) == base.Adopted(Served())
            await following.start(wireguard.serving(at.endpoint, ANNA.account()))
            programs.gone(daemon)
            assert set((await following.served()).accounts) == {ANNA.meter}
            await following.stop()
        assert not programs.is_alive(daemon)

    rig.run(tmp_path, play, ANNA.account())


def test_an_agent_that_had_no_endpoint_is_taken_over_with_nothing(tmp_path: Path) -> None:
    async def play(at: rig.Rig) -> None:
        await at.driver.start(Served())
        await at.driver.leave()
        async with rig.another(at.chosen) as following:
            assert await following.adopt(Served()) == base.Adopted(Served())
            assert await following.read() == []
            assert (await following.status()).problem is None

    rig.run(tmp_path, play)


def test_endpoints_come_and_go_without_touching_others(tmp_path: Path) -> None:
    async def play(at: rig.Rig) -> None:
        with at.client(ANNA) as client, at.up(ANNA) as up:
            wireguard.connected(up)
            handshake = client.handshakes()
            second = _second(at)
            assert await at.driver.place(second, [OLGA.account(endpoint=2)]) == {}
            assert {one.source for one in await at.driver.read()} == {at.interface, f"{at.chosen.prefix}2"}
            await at.driver.withdraw(second.endpoint)
            assert up.passes()
            assert client.handshakes() == handshake
            assert (await at.driver.served()).endpoints == {at.endpoint.endpoint: at.endpoint}
            assert f"{at.chosen.prefix}2" not in netns.ip("link")
            assert [path.name for path in register.found(at.chosen.run_dir)] == [
                f"{at.interface}{register.SUFFIX}"
            ]

    rig.run(tmp_path, play, ANNA.account())


def test_what_was_counted_just_before_an_interface_went_is_in_the_next_reading(tmp_path: Path) -> None:
    async def play(at: rig.Rig) -> None:
        with at.client(ANNA), at.up(ANNA) as up:
            wireguard.connected(up)
            before = await at.total(ANNA)
            assert up.send(100, 1000) == 100
            await at.driver.place(_second(at), [])
            await at.driver.withdraw(at.endpoint.endpoint)
            assert (await at.total(ANNA)).up == before.up + wireguard.on_the_wire(100, 1000)

    rig.run(tmp_path, play, ANNA.account())


def test_what_was_stopped_says_nothing_more(tmp_path: Path) -> None:
    async def play(at: rig.Rig) -> None:
        with at.client(ANNA), at.up(ANNA) as up:
            wireguard.connected(up)
            (before,) = await at.driver.read()
            assert up.send(10, 1000) == 10
            await at.driver.stop()
            with pytest.raises(base.CoreDownError):
                await at.driver.read()
            await at.driver.start(wireguard.serving(at.endpoint, BEN.account()))
            (after,) = await at.driver.read()
            assert after.generation != before.generation
            assert ANNA.meter not in after.counts

    rig.run(tmp_path, play, ANNA.account())


def test_a_start_touches_only_who_differs(tmp_path: Path) -> None:
    async def play(at: rig.Rig) -> None:
        with at.client(ANNA) as client, at.up(ANNA) as up:
            wireguard.connected(up)
            handshake, daemon = client.handshakes(), _daemon(at)
            await at.driver.start(wireguard.serving(at.endpoint, ANNA.account()))
            assert set((await at.driver.served()).accounts) == {ANNA.meter}
            assert up.passes()
            assert (client.handshakes(), _daemon(at)) == (handshake, daemon)
            moved = msgspec.structs.replace(at.endpoint, port=at.places["node"].free_port())
            await at.driver.start(wireguard.serving(moved, ANNA.account()))
            assert not programs.is_alive(daemon)
            assert (await at.driver.served()).endpoints == {at.endpoint.endpoint: moved}

    rig.run(tmp_path, play, ANNA.account(), BEN.account())


def test_an_interface_that_hangs_is_noticed_and_replaced(tmp_path: Path) -> None:
    async def play(at: rig.Rig) -> None:
        daemon = _daemon(at)
        programs.suspend(daemon)
        status = await at.driver.status()
        assert status.running
        assert "did not answer within 2 s" in str(status.problem)
        await at.driver.start(wireguard.serving(at.endpoint, ANNA.account()))
        assert not programs.is_alive(daemon)
        assert (await at.driver.status()).problem is None

    rig.run(tmp_path, play, ANNA.account())


def test_what_somebody_has_taken_from_an_interface_is_given_back(tmp_path: Path) -> None:
    async def play(at: rig.Rig) -> None:
        netns.ip("addr", "del", "10.66.0.1/16", "dev", at.interface)
        wireguard.ran("nft", "flush", "ruleset")
        assert set((await at.driver.served()).endpoints) == {at.endpoint.endpoint}
        assert "10.66.0.1/16" in netns.ip("addr", "show", "dev", at.interface)
        assert "masquerade" in wireguard.ran("nft", "list", "ruleset")

    rig.run(tmp_path, play, ANNA.account(), masquerade=True)


def test_an_interface_of_somebody_else_and_a_taken_port_are_said_and_left_alone(tmp_path: Path) -> None:
    async def play(at: rig.Rig) -> None:
        second = _second(at)
        name = at.chosen.interface(second.endpoint)
        netns.ip("link", "add", name, "type", "bridge")
        with pytest.raises(base.DriverError, match="another program has made the interface"):
            await at.driver.place(second, [])
        netns.ip("link", "del", name)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind(("0.0.0.0", second.port))
            reason = f"another program has UDP port {second.port}"
            assert await at.driver.obstacles([at.endpoint, second]) == {second.endpoint: reason}
            with pytest.raises(base.DriverError, match="another program has its port"):
                await at.driver.place(second, [])
        assert name not in netns.ip("link")
        assert len(register.found(at.chosen.run_dir)) == 1
        with pytest.raises(base.DriverError, match="mtu must be"):
            await at.driver.check(_with_mtu(second, 10))
        assert set((await at.driver.served()).accounts) == {ANNA.meter}

    rig.run(tmp_path, play, ANNA.account())


def test_a_socket_that_a_killed_daemon_left_is_no_hindrance(tmp_path: Path) -> None:
    async def play(at: rig.Rig) -> None:
        await at.driver.leave()
        programs.kill(_daemon(at))
        assert (options.SOCKETS / f"{at.interface}.sock").exists()
        async with rig.another(at.chosen) as following:
            assert await following.adopt(Served()) is None
            await following.start(wireguard.serving(at.endpoint, ANNA.account()))
            assert set((await following.served()).accounts) == {ANNA.meter}
            await following.stop()
        assert not (options.SOCKETS / f"{at.interface}.sock").exists()

    rig.run(tmp_path, play, ANNA.account())


def test_ten_thousand_are_added_blocked_and_read_and_one_of_them_is_nobody_s_business(tmp_path: Path) -> None:
    async def play(at: rig.Rig) -> None:
        crowd = wireguard.crowd(range(10, 10_010))
        with at.client(ANNA) as client, at.up(ANNA) as up:
            wireguard.connected(up)
            handshake = client.handshakes()
            assert await at.driver.add(crowd) == {}
            assert len((await at.driver.served()).accounts) == 10_001
            assert up.passes()
            before = await at.count(ANNA)
            assert up.send(100, 1000) == 100
            assert (await at.count(ANNA)).up - before.up == wireguard.on_the_wire(100, 1000)
            await at.driver.cut_all()
            assert not up.passes()
            assert (await at.driver.served()).accounts == {}
            assert await at.driver.add([*crowd, ANNA.account()]) == {}
            assert up.passes()
            assert client.handshakes() == handshake

    rig.run(tmp_path, play, ANNA.account())


def _second(at: rig.Rig) -> Endpoint:
    """Another endpoint, beside endpoint 1."""
    port = at.endpoint.port + 1
    return wireguard.endpoint(at.keys, port, number=2, addresses=("10.67.0.1/16",), masquerade=False)


def _with_mtu(endpoint: Endpoint, mtu: int) -> Endpoint:
    assert endpoint.options is not None
    return msgspec.structs.replace(endpoint, options=msgspec.structs.replace(endpoint.options, mtu=mtu))


def _daemon(at: rig.Rig) -> int:
    run = register.run_of(at.chosen.run_dir / f"{at.interface}{register.SUFFIX}")
    assert run is not None
    return run.pid


async def _grown(at: rig.Rig, size: int) -> bool:
    return (await at.total(ANNA)).up > size


async def _more(driven: driver.WireGuardDriver, size: int) -> bool:
    (reading,) = await driven.read()
    return reading.counts[ANNA.meter].up > size


@contextlib.contextmanager
def _load(pipe: wireguard.Pipe) -> Iterator[None]:
    """A thousand packets a second as long as the block lasts."""
    over = threading.Event()

    def pour() -> None:
        while not over.wait(0.001):
            pipe.throw(1000)

    sender = threading.Thread(target=pour)
    sender.start()
    try:
        yield
    finally:
        over.set()
        sender.join()


@contextlib.contextmanager
def _owner(at: rig.Rig, *accounts: Account) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Another agent that serves these, and the generation it named; killed with the block."""
    with subprocess.Popen(
        [sys.executable, "-m", owner.__name__, str(at.chosen.run_dir), at.chosen.prefix],
        cwd=programs.ROOT,
        env=programs.clean_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        try:
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(msgspec.json.encode(owner.Told(at.endpoint, list(accounts))) + b"\n")
            child.stdin.flush()
            yield child, child.stdout.readline().decode().strip()
        finally:
            child.kill()
