"""Real traffic through real interfaces: counted to the byte, stopped at once, and resumed in its session."""

import threading
import time
from pathlib import Path

import msgspec

from agent.core.counting import Count
from shared import endpoints
from tests.agent.drivers.wireguard import rig
from tests.kit import netns, waiting, wireguard

pytestmark = rig.real
#: Beyond the node, and not on its wire (RFC 2544).
WORLD = "198.18.0.1"
ANNA, BEN = wireguard.user(2), wireguard.user(3)


def test_paced_packets_are_counted_to_the_byte_in_both_directions(tmp_path: Path) -> None:
    async def play(at: rig.Rig) -> None:
        with at.client(ANNA), at.up(ANNA) as up, at.down(ANNA) as down, at.up(ANNA, six=True) as six:
            wireguard.connected(up)
            before = await at.count(ANNA)
            assert up.send(500, 100) == 500
            assert up.send(300, 1000) == 300
            assert down.send(200, 1371) == 200
            sent = before.up + wireguard.on_the_wire(500, 100) + wireguard.on_the_wire(300, 1000)
            # What arrives at the user is counted a moment after it was sent.
            wanted = Count(sent, before.down + wireguard.on_the_wire(200, 1371))
            await rig.until(lambda: _counts(at, wanted))
            after = await at.count(ANNA)
            assert after == wanted
            assert six.send(100, 1000) == 100
            assert (await at.count(ANNA)).up - after.up == wireguard.on_the_wire(100, 1020)

    rig.run(tmp_path, play, ANNA.account())


def test_wg_itself_says_what_we_read(tmp_path: Path) -> None:
    async def play(at: rig.Rig) -> None:
        with at.client(ANNA), at.client(BEN), at.up(ANNA) as anna, at.down(BEN) as ben:
            wireguard.connected(anna)
            ben.throw(8)
            assert anna.send(100, 700) == 100
            said = wireguard.dump(at.interface)
            assert said == {
                ANNA.keys.public: tuple(await at.count(ANNA)),
                BEN.keys.public: tuple(await at.count(BEN)),
            }
            assert said[ANNA.keys.public][0] > 70_000

    rig.run(tmp_path, play, ANNA.account(), BEN.account())


def test_a_block_stops_both_directions_and_only_his_and_he_goes_on_without_a_handshake(
    tmp_path: Path,
) -> None:
    async def play(at: rig.Rig) -> None:
        with (
            at.client(ANNA) as client,
            at.client(BEN),
            at.up(ANNA) as up,
            at.down(ANNA) as down,
            at.up(BEN) as neighbour,
        ):
            wireguard.connected(up)
            wireguard.connected(neighbour)
            handshake = client.handshakes()
            assert down.passes()
            await at.cut(ANNA)
            assert not up.passes()
            assert not down.passes()
            assert neighbour.passes()
            assert set((await at.driver.served()).accounts) == {BEN.meter}
            assert await at.driver.add([ANNA.account()]) == {}
            assert up.passes()
            assert down.passes()
            assert client.handshakes() == handshake

    rig.run(tmp_path, play, ANNA.account(), BEN.account())


def test_what_a_blocked_user_sends_is_dropped_and_not_billed(tmp_path: Path) -> None:
    async def play(at: rig.Rig) -> None:
        with at.client(ANNA), at.up(ANNA) as up:
            wireguard.connected(up)
            assert up.send(50, 500) == 50
            await at.cut(ANNA)
            blocked = await at.total(ANNA)
            received = wireguard.dump(at.interface)[ANNA.keys.public][0] + wireguard.on_the_wire(50, 1000)
            for _ in range(50):
                up.throw(1000)
            waiting.until(
                lambda: wireguard.dump(at.interface)[ANNA.keys.public][0] >= received,
                within_s=5,
                what="dropped packets to be counted by wireguard-go",
            )
            assert up.arrived() == 0
            assert await at.total(ANNA) == blocked
            assert await at.driver.add([ANNA.account()]) == {}
            assert await at.total(ANNA) == blocked
            assert up.send(10, 500) == 10
            assert (await at.total(ANNA)).up == blocked.up + wireguard.on_the_wire(10, 500)

    rig.run(tmp_path, play, ANNA.account())


def test_a_cut_under_traffic_lets_nothing_through_after_it_returned(tmp_path: Path) -> None:
    async def play(at: rig.Rig) -> None:
        with at.client(ANNA), at.up(ANNA) as up, at.down(ANNA) as down:
            wireguard.connected(up)
            over = threading.Event()
            senders = [threading.Thread(target=_pour, args=(pipe, over)) for pipe in (up, down)]
            for sender in senders:
                sender.start()
            try:
                await rig.until(lambda: _more_than(at, 200_000))
                assert await at.driver.block([ANNA.meter]) == {}
                over.wait(0.02)  # what was past the interface when it returned arrives
                up.arrived(), down.arrived()
                over.wait(0.2)
                assert (up.arrived(), down.arrived()) == (0, 0)
            finally:
                over.set()
                for sender in senders:
                    sender.join()

    rig.run(tmp_path, play, ANNA.account())


def test_a_new_key_takes_the_place_of_the_old_one_and_the_total_goes_on(tmp_path: Path) -> None:
    async def play(at: rig.Rig) -> None:
        renewed = wireguard.User(number=2, keys=wireguard.keys(), addresses=ANNA.addresses)
        with at.client(ANNA), at.up(ANNA) as up:
            wireguard.connected(up)
            assert up.send(100, 1000) == 100
            await at.cut(ANNA)
            before = await at.total(ANNA)
            assert await at.driver.add([renewed.account()]) == {}
            assert list(wireguard.dump(at.interface)) == [renewed.keys.public]
            assert not up.passes()
            assert await at.total(ANNA) == before
        with at.client(renewed), at.up(renewed) as up:
            wireguard.connected(up)
            assert up.send(200, 1000) == 200
            grown = (await at.total(ANNA)).up - before.up
            assert grown > wireguard.on_the_wire(200, 1000)
            assert grown - wireguard.on_the_wire(200, 1000) < 2000

    rig.run(tmp_path, play, ANNA.account())


def test_a_user_without_his_preshared_key_gets_no_handshake(tmp_path: Path) -> None:
    async def play(at: rig.Rig) -> None:
        wrong = wireguard.User(
            number=2, keys=ANNA.keys, addresses=ANNA.addresses, preshared=wireguard.any_key()
        )
        with at.client(wrong) as client, at.up(ANNA) as up:
            assert not up.passes(within_s=1)
            assert client.handshakes() == 0
            assert await at.driver.sessions() == []

    rig.run(tmp_path, play, ANNA.account())


def test_sessions_are_named_by_where_they_come_from(tmp_path: Path) -> None:
    async def play(at: rig.Rig) -> None:
        home = at.home(ANNA)
        assert await at.driver.sessions() == []
        with at.client(ANNA) as client, at.up(ANNA) as up:
            wireguard.connected(up)
            assert await _homes(at) == [home.address]
            other = f"{home.address}9"
            client.move(other)
            wireguard.connected(up)
            assert await _homes(at) == sorted([home.address, other])
            await at.cut(ANNA)
            assert await _homes(at) == []

    rig.run(tmp_path, play, ANNA.account())


def test_users_reach_the_world_under_the_node_s_address_through_a_table_that_goes_with_the_interface(
    tmp_path: Path,
) -> None:
    async def play(at: rig.Rig) -> None:
        hub = at.places["hub"]
        with hub.inside():
            netns.ip("addr", "add", f"{WORLD}/32", "dev", "lo")
        with at.client(ANNA) as client, at.up(ANNA) as tunnel:
            wireguard.connected(tunnel)
            client.route(WORLD)
            with wireguard.Pipe(client.place, ANNA.addresses[0], hub, WORLD) as world:
                assert world.passes(within_s=5)
                assert world.last_sender == at.places["node"].address
        assert f"tidegate_{at.interface}" in _tables()
        await at.driver.withdraw(at.endpoint.endpoint)
        assert _tables() == ""
        assert at.interface not in netns.ip("link")

    rig.run(tmp_path, play, ANNA.account(), masquerade=True)


def test_limits_hold_in_both_directions_change_live_and_go_with_the_user(tmp_path: Path) -> None:
    async def play(at: rig.Rig) -> None:
        limited = ANNA.account(endpoints.Rate(up_kbps=4000, down_kbps=4000))
        with at.client(ANNA) as client, at.up(ANNA) as up, at.down(ANNA) as down:
            wireguard.connected(up)
            handshake = client.handshakes()
            assert await at.driver.add([limited]) == {}
            assert 2.5 < _mbit_s(up) < 5
            assert 2.5 < _mbit_s(down) < 5
            faster = msgspec.structs.replace(limited, rate=endpoints.Rate(up_kbps=4000, down_kbps=16000))
            assert await at.driver.add([faster]) == {}
            assert _mbit_s(down) > 9
            assert 2.5 < _mbit_s(up) < 5
            assert (await at.driver.served()).accounts[ANNA.meter].rate == faster.rate
            await at.cut(ANNA)
            assert f"{at.interface}u" not in netns.ip("link")
            assert await at.driver.add([ANNA.account()]) == {}
            assert _mbit_s(up) > 20
            assert client.handshakes() == handshake

    rig.run(tmp_path, play, ANNA.account())


def _pour(pipe: wireguard.Pipe, over: threading.Event) -> None:
    while not over.wait(0.0005):
        pipe.throw(1000)


async def _more_than(at: rig.Rig, size: int) -> bool:
    count: Count = await at.count(ANNA)
    return count.up > size and count.down > size


async def _counts(at: rig.Rig, wanted: Count) -> bool:
    return await at.count(ANNA) == wanted


async def _homes(at: rig.Rig) -> list[str]:
    return sorted(str(session.address) for session in await at.driver.sessions())


def _tables() -> str:
    return wireguard.ran("nft", "list", "tables")


def _mbit_s(pipe: wireguard.Pipe, seconds: float = 1.0) -> float:
    """What comes through of sixty megabits a second, after the burst."""
    over = threading.Event()
    sender = threading.Thread(target=_flood, args=(pipe, over))
    sender.start()
    try:
        over.wait(0.3)
        pipe.arrived()
        began_s = time.monotonic()
        over.wait(seconds)
        return pipe.arrived() * 1000 * 8 / (time.monotonic() - began_s) / 1e6
    finally:
        over.set()
        sender.join()
        over.wait(0.1)
        pipe.arrived()


def _flood(pipe: wireguard.Pipe, over: threading.Event) -> None:
    while not over.wait(0.001):
        for _ in range(8):
            pipe.throw(1000)
