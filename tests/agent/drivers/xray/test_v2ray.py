"""Debian's V2Ray under the same driver: users, counters, cuts, restarts, and what it cannot do in words."""

import asyncio
import os
import re
import shutil
import signal
from pathlib import Path

import msgspec
import pytest

from agent import ledger
from agent.core import counting
from agent.core.periods import Pace
from agent.drivers import base
from agent.drivers.xray import dialects, sockets
from agent.loops import serving
from agent.loops.meter import MeterLoop
from agent.loops.node import Core, Node
from agent.loops.sync import SyncLoop
from shared.names import EndpointId
from tests.agent import fleet
from tests.agent.drivers.xray import rig
from tests.kit import lab as labs
from tests.kit import source
from tests.matrix import play

V2RAY = shutil.which("v2ray")
BINARY = Path(V2RAY or "/usr/bin/v2ray")
REFUSAL = sockets.refusal()

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(V2RAY is None, reason="V2Ray is not installed: apt-get install v2ray"),
]
KNOWN = {
    *("vless tcp", "vless websocket", "vless tcp tls", "vless websocket tls"),
    *("vmess tcp", "vmess websocket", "vmess tcp tls", "vmess websocket tls"),
    *("trojan tcp tls", "trojan websocket tls", "trojan websocket"),
}
can_cut = pytest.mark.skipif(REFUSAL is not None, reason=f"connections cannot be cut here: {REFUSAL}")


def test_users_are_added_blocked_and_replaced_while_it_runs(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig.running(tmp_path, 1, 2, binary=BINARY) as lab:
            assert await lab.works(1)
            old = lab.accounts[2].uuid
            assert await lab.driver.block([rig.meter(1)]) == {}
            assert not await lab.works(1)
            assert await lab.driver.add([lab.account(2)]) == {}
            assert await lab.works(2)
            assert not await rig.fetches(lab.port, old, lab.source.port)
            assert await lab.driver.add([lab.accounts[1], lab.accounts[2]]) == {}
            assert await lab.works(1)
            assert await lab.driver.served() == rig.serving(lab.port, lab.accounts[1], lab.accounts[2])

    asyncio.run(scenario())


def test_counters_are_the_payload_to_the_byte(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig.running(tmp_path, 1, 2, binary=BINARY) as lab:
            asked = len(b"GET /bytes/5000000 HTTP/1.1\r\nHost: source\r\n\r\n")
            async with lab.tunnel(1) as one, lab.tunnel(2) as two:
                assert await one.get("/bytes/5000000") == 5_000_000
                assert await two.get("/bytes/7000") == 7_000
                (reading,) = await lab.driver.read()
                assert reading.counts[rig.meter(1)] == counting.Count(asked, one.taken)
                assert reading.counts[rig.meter(2)] == counting.Count(asked - 3, two.taken)
                assert await lab.driver.read() == [reading]

    asyncio.run(scenario())


def test_its_version_is_told_with_its_name_and_so_is_what_it_cannot(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig.running(tmp_path, binary=BINARY) as lab:
            status = await lab.driver.status()
            assert status.problem is None
            assert re.fullmatch(r"V2Ray 4\.\d+\.\d+", status.version or "")
            assert set(dialects.V2RAY.limitations) <= set(lab.driver.limitations)

    asyncio.run(scenario())


def test_the_api_is_a_socket_that_only_the_agent_can_reach(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig.running(tmp_path, binary=BINARY) as lab:
            assert lab.chosen.api.is_socket()
            child = _child(rig.host_pid(tmp_path))
            listening = {int(line.split()[1].rpartition(":")[2], 16) for line in _listeners(child)}
            assert listening == {lab.port}

    asyncio.run(scenario())


@can_cut
def test_a_cut_ends_the_connections_it_told_of_and_not_those_of_a_neighbour(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with (
            rig.running(tmp_path, 1, 2, binary=BINARY) as lab,
            lab.tunnel(1) as one,
            lab.tunnel(2) as neighbour,
        ):
            assert await neighbour.get("/bytes/10") == 10
            await one.request("/bytes/50000000?rate=1000000")
            await rig.until(lambda: lab.heard(2))
            await lab.driver.block([rig.meter(1)])
            assert await lab.driver.cut([rig.meter(1)]) == base.Cut(1, left=False)
            assert await one.ended()
            assert await neighbour.get("/bytes/100000") == 100_000

    asyncio.run(scenario())


@can_cut
def test_a_connection_nobody_was_told_of_is_said_to_be_left(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig.running(tmp_path, 1, binary=BINARY) as lab:
            _, silent = await asyncio.open_connection("127.0.0.1", lab.port)
            assert await lab.driver.cut([rig.meter(1)]) == base.Cut(0, left=True)
            silent.close()

    asyncio.run(scenario())


def test_who_is_connected_is_known_and_no_address_reaches_a_file(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig.running(tmp_path, 1, binary=BINARY) as lab, lab.tunnel(1) as tunnel:
            assert await tunnel.get("/bytes/10") == 10
            await rig.until(lambda: lab.heard(1))
            (session,) = await lab.driver.sessions()
            assert (session.user, str(session.address)) == (1, rig.HOME)
            pid = rig.host_pid(tmp_path)
            written = [Path(f"/proc/{pid}/fd/1"), *(p for p in lab.chosen.run_dir.iterdir() if p.is_file())]
            assert not [path for path in written if rig.HOME.encode() in path.read_bytes()]

    asyncio.run(scenario())


def test_private_targets_are_refused_unless_they_are_allowed(tmp_path: Path) -> None:
    async def scenario() -> None:
        chosen = rig.choose(tmp_path, binary=BINARY, private=False)
        account = rig.account(1)
        with rig.locked(chosen.lock_file), source.Source() as bytes_from:
            async with rig.driven(chosen) as made:
                port = rig.free_port()
                await made.start(rig.serving(port, account))
                assert not await rig.fetches(port, account.uuid, bytes_from.port)

    asyncio.run(scenario())


@can_cut
def test_what_was_counted_until_a_restart_is_kept_and_goes_on_from_there(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig.running(tmp_path, 1, binary=BINARY) as lab:
            async with lab.tunnel(1) as tunnel:
                await tunnel.request("/bytes/50000000?rate=20000000")
                while tunnel.taken < 1_000_000:
                    await tunnel.take()
                await lab.driver.cut_all()
                (before,) = await lab.driver.read()
                taken = tunnel.taken
            assert taken <= before.counts[rig.meter(1)].down
            assert not await rig.fetches(lab.port, lab.accounts[1].uuid, lab.source.port)
            await lab.driver.start(rig.serving(lab.port, lab.accounts[1]))
            (after,) = await lab.driver.read()
            assert after.generation != before.generation
            assert after.counts == {}
            assert await lab.works(1)

    asyncio.run(scenario())


def test_a_new_agent_reads_the_one_that_was_left_and_replaces_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig.running(tmp_path, 1, binary=BINARY) as lab:
            assert await lab.works(1, 90_000)
            (last,) = await lab.driver.read()
            await lab.driver.leave()
            adopted = await lab.driver.adopt(rig.serving(lab.port, lab.accounts[1]))
            assert adopted is not None
            assert adopted.stale
            assert await lab.driver.read() == [last]

    asyncio.run(scenario())


def test_an_endpoint_it_would_not_start_with_is_refused_in_its_words_while_it_serves_on(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with rig.running(tmp_path, 1, binary=BINARY) as lab, lab.tunnel(1) as tunnel:
            (plain,) = rig.serving(rig.free_port()).endpoints.values()
            await lab.driver.check(plain)
            strange = msgspec.structs.replace(plain, extra={"streamSettings": {"network": "pigeon"}})
            with pytest.raises(base.DriverError, match=r"(?i)V2Ray refuses it: .*pigeon"):
                await lab.driver.check(strange)
            assert await tunnel.get("/bytes/1000") == 1000

    asyncio.run(scenario())


def test_an_endpoint_more_needs_a_new_start_and_one_less_does_not(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig.running(tmp_path, 1, binary=BINARY) as lab:
            (other,) = rig.serving(rig.free_port()).endpoints.values()
            with pytest.raises(base.RestartNeededError):
                await lab.driver.place(msgspec.structs.replace(other, endpoint=EndpointId(2)), [])
            assert await lab.works(1)
            await lab.driver.withdraw(EndpointId(1))
            assert not sockets.listening(lab.port)
            assert (await lab.driver.served()).endpoints == {}

    asyncio.run(scenario())


@pytest.mark.netns
@pytest.mark.skipif(labs.why_no_namespaces() is not None, reason=str(labs.why_no_namespaces()))
def test_every_combination_it_knows_passes_its_bytes_and_counts_them_exactly(tmp_path: Path) -> None:
    with labs.opened(["node"]) as places, places["node"].inside():
        outcomes = play.run(tmp_path, places["node"], v2ray=BINARY)
    wrong = [one for one in outcomes if not one.good and not one.unsupported]
    assert [(one.combination, one.client, one.word()) for one in wrong] == []
    assert {one.combination for one in outcomes if one.good} == KNOWN


def test_a_crash_is_told_by_its_signal_although_it_was_a_child(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig.running(tmp_path, 1, binary=BINARY) as lab:
            os.kill(_child(rig.host_pid(tmp_path)), signal.SIGKILL)
            async with asyncio.timeout(5):
                assert (await lab.driver.exited()).startswith("V2Ray was ended by signal 9")

    asyncio.run(scenario())


@can_cut
def test_bytes_until_the_fence_stay_to_be_read(tmp_path: Path) -> None:
    async def scenario() -> None:
        chosen, account = rig.choose(tmp_path, fence_s=0.5, binary=BINARY), rig.account(1)
        with source.Source() as bytes_from:
            async with rig.driven(chosen) as made:
                with rig.locked(chosen.lock_file):
                    port = rig.free_port()
                    await made.start(rig.serving(port, account))
                    assert await rig.fetches(port, account.uuid, bytes_from.port, 80_000)
                await rig.until(lambda: _fenced(made))
                assert not await rig.fetches(port, account.uuid, bytes_from.port)
                (reading,) = await made.read()
                assert reading.counts[rig.meter(1)].down >= 80_000

    asyncio.run(scenario())


def test_one_without_a_call_for_users_is_restarted_with_who_is_wanted(tmp_path: Path) -> None:
    old = tmp_path / "v2ray"
    old.write_text(
        "#!/bin/sh\n"
        f'[ "$1" = -config ] || exec {BINARY} "$@"\n'
        'sed \'s/"HandlerService", //\' >"$0.json"\n'
        f'exec {BINARY} -config "$0.json"\n'
    )
    old.chmod(0o755)
    first, second = rig.account(1), rig.account(2)

    async def scenario() -> None:
        port, chosen, collector = rig.free_port(), rig.choose(tmp_path, binary=old), fleet.Collector()
        collector.want(fleet.endpoint(port=port), first)
        link, book = fleet.linked(collector), ledger.open_ledger(tmp_path / ledger.FILE_NAME)
        with rig.locked(chosen.lock_file), source.Source() as bytes_from:
            async with rig.driven(chosen) as made:
                node = Node(cores=[Core(made)], ledger=book, link=link, pace=Pace(), holding=book.held)
                await serving.boot(node)
                sync, meter = SyncLoop(node), MeterLoop(node)
                await sync.once()
                assert any("cannot change its users" in said for said in made.limitations)
                assert await rig.fetches(port, first.uuid, bytes_from.port, 70_000)
                collector.want(second)
                await sync.once()
                assert await rig.fetches(port, second.uuid, bytes_from.port, 60_000)
                collector.drop("account/1/1")
                await sync.once()
                assert not await rig.fetches(port, first.uuid, bytes_from.port)
                assert await rig.fetches(port, second.uuid, bytes_from.port, 60_000)
                await meter.once()
                assert node.ledger.total(rig.meter(1)).down >= 70_000
                assert node.ledger.total(rig.meter(2)).down >= 120_000
                assert node.problems == {}
        book.close()
        await link.close()

    asyncio.run(scenario())


def _child(pid: int) -> int:
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)


def _listeners(pid: int) -> list[str]:
    """The lines of /proc/net/tcp* of the sockets on which a process listens."""
    inodes = {str(fd.readlink())[8:-1] for fd in Path(f"/proc/{pid}/fd").iterdir() if fd.is_socket()}
    lines = [line for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()]
    return [line for line in lines if line.split()[3] == "0A" and line.split()[9] in inodes]


async def _fenced(made: base.Driver) -> bool:
    return "serves nobody" in ((await made.status()).problem or "")
