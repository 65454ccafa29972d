"""Starting a real Xray: what is refused and in which words, what runs and what others can see of it."""

import asyncio
import logging
import os
import signal
import socket
import stat
import sys
from pathlib import Path

import pytest

from agent.drivers import base, pids
from agent.drivers.xray import config, process
from tests.agent.drivers.xray import rig

pytestmark = pytest.mark.e2e


def test_a_start_refuses_a_taken_port_and_names_who_has_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        chosen = rig.choose(tmp_path)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            async with rig.driven(chosen) as made:
                with pytest.raises(base.DriverError) as refused:
                    await made.start(rig.serving(port))
                assert f"port {port}" in str(refused.value)
                assert f"(process {os.getpid()})" in str(refused.value)
                assert (await made.status()).problem == str(refused.value)

    asyncio.run(scenario())


def test_a_second_xray_on_the_same_port_is_refused_although_it_would_start(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig.running(tmp_path / "one") as lab, rig.driven(rig.choose(tmp_path / "two")) as second:
            with pytest.raises(base.DriverError, match="already listens there"):
                await second.start(rig.serving(lab.port))

    (tmp_path / "one").mkdir()
    asyncio.run(scenario())


def test_the_port_can_be_had_again_right_after_connections_were_closed(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig.running(tmp_path, 1) as lab:
            async with lab.tunnel(1) as tunnel:
                assert await tunnel.get("/bytes/10") == 10
                await lab.driver.stop()  # the server's side closes first and lingers
            await lab.driver.start(rig.serving(lab.port, lab.accounts[1]))
            assert await lab.works(1)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("port", "listen", "said"),
    [
        (0, "0.0.0.0", "port 0 is not between"),
        (70_000, "0.0.0.0", "port 70000 is not between"),
        (20_000, "nonsense", "'nonsense' is not an address"),
        (20_000, "192.0.2.1", "'192.0.2.1' is not an address"),
    ],
)
def test_a_wrong_endpoint_is_refused_in_words(tmp_path: Path, port: int, listen: str, said: str) -> None:
    async def scenario() -> None:
        async with rig.driven(rig.choose(tmp_path)) as made:
            with pytest.raises(base.DriverError, match=said):
                await made.start(rig.serving(port, listen=listen))

    asyncio.run(scenario())


def test_a_refused_configuration_gives_words_although_the_package_says_none(tmp_path: Path) -> None:
    async def scenario() -> None:
        chosen = rig.choose(tmp_path)
        with rig.locked(chosen.lock_file), pytest.raises(base.DriverError) as refused:
            await process.start(chosen, {}, '{"inbounds": [{"protocol": "no such thing"}]}')
        assert "status 23" in str(refused.value)
        assert "refused its configuration" in str(refused.value)
        assert process.find(chosen.run_dir) is None

    asyncio.run(scenario())


def test_a_bad_account_does_not_keep_the_others_from_being_served(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        chosen, good, bad = rig.choose(tmp_path), rig.account(1), rig.account(2, "no uuid")
        with rig.locked(chosen.lock_file), caplog.at_level(logging.WARNING):
            async with rig.driven(chosen) as made:
                port = rig.free_port()
                await made.start(rig.serving(port, good, bad))
                assert await made.served() == rig.serving(port, good)
        assert [record.message for record in caplog.records] == ["xray_account_refused"]

    asyncio.run(scenario())


def test_the_run_directory_is_closed_to_others_and_holds_no_secret_and_no_address(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig.running(tmp_path, 1) as lab, lab.tunnel(1) as tunnel:
            assert await tunnel.get("/bytes/10") == 10
            run_dir = lab.chosen.run_dir
            assert stat.S_IMODE(run_dir.stat().st_mode) == 0o700
            written = b"".join(path.read_bytes() for path in run_dir.iterdir() if path.is_file())
            assert lab.accounts[1].uuid.encode() not in written
            assert rig.HOME.encode() not in written
            assert lab.accounts[1].uuid not in command_line(rig.host_pid(tmp_path))

    asyncio.run(scenario())


def test_the_host_gets_none_of_the_agents_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEGATE_SECRET", "hush")
    known = process.environment(rig.choose(tmp_path))
    assert "hush" not in known.values()
    assert known["XRAY_BUF_SPLICE"] == "disable"


def test_a_binary_is_run_as_a_child_that_dies_with_the_host(tmp_path: Path) -> None:
    binary = tmp_path / "xray"
    binary.write_text(
        f"#!{sys.executable} -P\n"
        "import sys, xray\n"
        "assert sys.argv[1:] == ['run', '-c', 'stdin:'], sys.argv\n"
        "xray.startFromJSON(sys.stdin.read())\n"
    )
    binary.chmod(0o755)

    async def scenario() -> None:
        async with rig.running(tmp_path, 1, binary=binary) as lab:
            assert await lab.works(1)
            await rig.until(lambda: lab.heard(1))
            child = child_of(rig.host_pid(tmp_path))
            await lab.driver.stop()
            assert pids.start_time(child) is None
            await lab.driver.start(rig.serving(lab.port, lab.accounts[1]))
            again = child_of(rig.host_pid(tmp_path))
            os.kill(rig.host_pid(tmp_path), signal.SIGKILL)
            await rig.until(lambda: _gone(again))

    asyncio.run(scenario())


def test_a_binary_that_fails_is_told_with_its_words(tmp_path: Path) -> None:
    binary = tmp_path / "xray"
    binary.write_text("#!/bin/sh\necho 'Failed to start: the moon is full'\nexit 23\n")
    binary.chmod(0o755)

    async def scenario() -> None:
        chosen = rig.choose(tmp_path, binary=binary)
        with rig.locked(chosen.lock_file):
            async with rig.driven(chosen) as made:
                with pytest.raises(base.DriverError, match=r"status 23.*the moon is full"):
                    await made.start(rig.serving(rig.free_port()))

    asyncio.run(scenario())


def test_a_missing_binary_is_told_in_words(tmp_path: Path) -> None:
    async def scenario() -> None:
        chosen = rig.choose(tmp_path, binary=tmp_path / "nowhere")
        with rig.locked(chosen.lock_file):
            async with rig.driven(chosen) as made:
                with pytest.raises(base.DriverError, match="cannot be run"):
                    await made.start(rig.serving(rig.free_port()))

    asyncio.run(scenario())


def test_a_large_configuration_is_given_more_time_to_start() -> None:
    """Trojan takes eight seconds for fifty thousand users, and more on a machine that has other work."""
    assert process.patience_s("") == process.START_DEADLINE_S
    assert process.patience_s("x" * 5_000_000) >= 3 * 8


def test_the_digest_changes_with_what_only_a_restart_can_change(tmp_path: Path) -> None:
    same = config.digest(rig.choose(tmp_path))
    assert same == config.digest(rig.choose(tmp_path))
    assert same != config.digest(rig.choose(tmp_path, private=False))
    assert same != config.digest(rig.choose(tmp_path, binary=Path("/usr/bin/xray")))


def command_line(pid: int) -> str:
    """What everybody can see of a process."""
    return Path(f"/proc/{pid}/cmdline").read_text()


def child_of(pid: int) -> int:
    """The only child of a process's main thread."""
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)


async def _gone(pid: int) -> bool:
    return pids.start_time(pid) is None
