"""What becomes of a real Xray and its users when no agent is left."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.core.served import Served
from agent.drivers import pids
from agent.drivers.xray import closing, control, fence, labels, options, runfile, sockets
from shared.names import EndpointId
from tests.agent.drivers.xray import rig
from tests.kit import source, vless

REFUSAL = sockets.refusal()

can_cut = pytest.mark.skipif(REFUSAL is not None, reason=f"connections cannot be cut here: {REFUSAL}")


@pytest.fixture
def lock(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "lock"
    with rig.locked(path):
        yield path


@contextlib.contextmanager
def taking() -> Iterator[socket.socket]:
    """Something that accepts connections, in the kernel's queue."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as listener:
        yield listener


def over(path: Path, listener: socket.socket) -> fence.Fence:
    """A fence around that listener whose agent has been away for longer than it may be."""
    place = runfile.Place(1, "vless", listener.getsockname()[1], "127.0.0.1")
    spec = runfile.Spec(str(path), str(path / "lock"), 1.0, None, "", (place,))
    return fence.Fence(spec, now_s=0.0)


def cut(listener: socket.socket, risen: fence.Fence, now_s: float) -> bool:
    """Whether a fresh connection is ended by a look."""
    with socket.create_connection(listener.getsockname()) as client:
        client.settimeout(0.05)
        risen.attend(now_s)
        try:
            return not client.recv(1)
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False


@pytest.mark.e2e
@can_cut
def test_bytes_until_the_fence_are_read_by_the_next_agent(tmp_path: Path) -> None:
    first, second = rig.account(1), rig.account(2)

    async def scenario() -> None:
        port, chosen = rig.free_port(), rig.choose(tmp_path, fence_s=1.0)
        with (
            source.Source() as bytes_from,
            rig.owner(tmp_path, port, first.uuid, second.uuid, fence_s=1.0) as (child, name),
        ):
            async with (
                rig.driven(chosen) as made,
                vless.tunnel(port, first.uuid, bytes_from.port, source=rig.HOME) as busy,
                vless.tunnel(port, second.uuid, bytes_from.port, source=rig.HOME) as idle,
            ):
                assert await idle.get("/bytes/300000") == 300_000
                await busy.request("/bytes/100000000?rate=5000000")
                child.kill()
                child.wait()
                async with asyncio.timeout(10):
                    assert await busy.ended()
                    await idle.ended()
                assert not await rig.fetches(port, first.uuid, bytes_from.port)
                with rig.locked(chosen.lock_file):
                    adopted = await made.adopt(Served())
                    assert adopted
                    assert adopted.stale
                    (reading,) = await made.read()
                    assert reading.generation == name
                    assert reading.counts[rig.meter(2)].down == idle.taken
                    counted = reading.counts[rig.meter(1)].down
                    assert busy.taken > 2_500_000
                    assert busy.taken <= counted <= busy.taken + 1_000_000
                    assert "serves nobody" in str((await made.status()).problem)
                    await made.cut_all()
                    assert await made.read() == [reading]
                    await made.start(rig.serving(port, first))
                    assert (await made.status()).problem is None
                    assert await rig.fetches(port, first.uuid, bytes_from.port)

    asyncio.run(scenario())


@pytest.mark.e2e
@can_cut
def test_the_fence_comes_after_its_time_and_not_while_an_agent_lives(tmp_path: Path) -> None:
    async def scenario() -> None:
        chosen = rig.choose(tmp_path, fence_s=0.4)
        async with rig.driven(chosen) as made:
            with rig.locked(chosen.lock_file):
                await made.start(rig.serving(rig.free_port()))
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(made.exited(), 1.0)
                assert (await made.status()).problem is None
            await rig.until(lambda: _fenced(chosen))
            with rig.locked(chosen.lock_file):
                assert await _fenced(chosen)
                assert (await made.status()).problem is not None

    asyncio.run(scenario())


async def _fenced(chosen: options.Options) -> bool:
    return await control.Control(chosen.control).fenced()


@pytest.mark.e2e
def test_a_listener_is_closed_by_xray_itself_and_its_connections_live_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig.running(tmp_path, 1) as lab, lab.tunnel(1) as tunnel:
            assert await tunnel.get("/bytes/10") == 10
            tags = [labels.tag(EndpointId(1)), "nobody"]
            assert await asyncio.to_thread(closing.close, lab.chosen.api, tags, 5.0)
            assert not sockets.listening(lab.port)
            assert (await lab.driver.served()).endpoints == {}
            assert await tunnel.get("/bytes/10") == 10

    asyncio.run(scenario())


def test_an_api_that_does_not_answer_has_closed_nothing(tmp_path: Path) -> None:
    assert not closing.close(tmp_path / "nobody", ["e1"], 1.0)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "silent"))
        silent.listen()
        assert not closing.close(tmp_path / "silent", ["e1"], 0.05)


def test_only_whole_frames_that_end_a_stream_are_answers() -> None:
    head = b"\x00\x00\x01"
    inbox = bytearray(
        head + b"\x01\x04\x00\x00\x00\x01x"  # headers that more follows
        + head + b"\x01\x05\x00\x00\x00\x01x"  # trailers
        + head + b"\x04\x01\x00\x00\x00\x00x"  # settings, whose flag means something else
        + head + b"\x03\x00\x00\x00\x00\x05x"  # a reset
        + head + b"\x00\x01\x00\x00\x00\x07"  # cut short
    )  # fmt: skip
    assert list(closing.answered(inbox)) == [1, 5]
    inbox += b"x"
    assert list(closing.answered(inbox)) == [7]
    assert not inbox


@can_cut
def test_whoever_comes_is_cut_while_xray_cannot_be_closed(tmp_path: Path) -> None:
    with taking() as listener:
        risen = over(tmp_path, listener)
        assert not cut(listener, risen, now_s=0.9)
        assert all(cut(listener, risen, now_s=1.0 + look) for look in range(3))
        assert risen.fenced
        assert risen.attend(5.0) == fence.RETRY_S


@can_cut
def test_an_agent_that_is_back_is_left_to_do_it_but_xray_stays_fenced(tmp_path: Path) -> None:
    with taking() as listener:
        risen = over(tmp_path, listener)
        assert cut(listener, risen, now_s=1.0)
        with rig.locked(tmp_path / "lock"):
            assert not cut(listener, risen, now_s=2.0)
            assert risen.fenced
        assert cut(listener, risen, now_s=2.1)


@can_cut
def test_once_xray_is_closed_and_empty_the_port_is_another_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(closing, "close", lambda *_: True)
    with taking() as listener:
        risen = over(tmp_path, listener)
        assert cut(listener, risen, now_s=1.0)
        risen.attend(2.0)
        assert not cut(listener, risen, now_s=3.0)


def test_who_can_cut_nobody_says_so_instead_of_a_fence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "refusal", lambda: "it is forbidden")
    with taking() as listener:
        risen = over(tmp_path, listener)
        risen.attend(0.9)
        with pytest.raises(fence.PowerlessError, match="it is forbidden"):
            risen.attend(1.0)
        assert not risen.fenced


def test_an_agent_lives_as_long_as_it_holds_its_lock(lock: Path) -> None:
    assert pids.agent_lives(str(lock))
    assert not pids.agent_lives(str(lock.with_name("other")))
    lock.with_name("free").touch()
    assert not pids.agent_lives(str(lock.with_name("free")))
