"""A core that the kernel ended for want of memory says so; any other signal 9 does not."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.drivers.xray import oomkills, output
from tests.agent.drivers.xray import rig

ROOT = Path("/sys/fs/cgroup")
LIMIT_BYTES = 256 << 20
#: Fills a file in memory: that counts for the cgroup and for no process, so the hog is not ended first.
HOG = """
import os, sys
file = os.memfd_create("hog")
sys.stdin.read(1)
while True:
    os.write(file, bytes(1 << 20))
"""


class _Room:
    """A memory cgroup of our own, of either version."""

    def __init__(self) -> None:
        mine = {
            names: path.lstrip("/")
            for _, names, path in (
                line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()
            )
        }
        v1 = "memory" in mine
        self.home = ROOT / "memory" / mine["memory"] if v1 else ROOT / mine.get("", "")
        self.path = self.home / f"tidegate-test-{os.getpid()}"
        self.limit = self.path / ("memory.limit_in_bytes" if v1 else "memory.max")

    def make(self) -> None:
        self.path.mkdir()
        try:
            self.limit.write_text(str(LIMIT_BYTES))
        except OSError:
            self.path.rmdir()
            raise

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Let this process, and those it starts, belong to the room."""
        (self.path / "cgroup.procs").write_text(str(os.getpid()))
        try:
            yield
        finally:
            (self.home / "cgroup.procs").write_text(str(os.getpid()))


@pytest.fixture
def room() -> Iterator[_Room]:
    made = _Room()
    try:
        made.make()
    except (OSError, KeyError) as error:
        pytest.skip(f"this machine gives no memory cgroup to a test: {error}")
    yield made
    made.path.rmdir()


def hogging() -> subprocess.Popen[bytes]:
    """Somebody who takes all there is, once a byte is written to him."""
    return subprocess.Popen([sys.executable, "-c", HOG], stdin=subprocess.PIPE)


def test_an_end_for_want_of_memory_is_told_with_the_limit(tmp_path: Path, room: _Room) -> None:
    async def scenario() -> str:
        async with contextlib.AsyncExitStack() as stack:
            with room.inside():
                lab = await stack.enter_async_context(rig.running(tmp_path, 1))
                hog = stack.enter_context(hogging())
            stack.callback(hog.kill)
            assert hog.stdin is not None
            hog.stdin.write(b"g")
            hog.stdin.flush()
            async with asyncio.timeout(30):
                return await lab.driver.exited()

    assert asyncio.run(scenario()).startswith(
        "Xray was ended by signal 9: the kernel ended a program for want of memory; "
        "give its cgroup, limited to 256 MiB, more of it"
    )


@pytest.mark.e2e
def test_a_kill_by_hand_is_not_taken_for_want_of_memory(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig.running(tmp_path, 1) as lab:
            os.kill(rig.host_pid(tmp_path), signal.SIGKILL)
            async with asyncio.timeout(5):
                assert (await lab.driver.exited()).startswith("Xray was ended by signal 9; ")

    asyncio.run(scenario())


def test_memory_is_no_reason_for_an_end_by_other_means() -> None:
    said = "the kernel ended a program for want of memory"
    assert said not in output.reason(23, "", memory=said)
    assert said not in output.reason(-11, "", memory=said)
    assert said in output.reason(137, "", memory=said)
    assert said in output.reason(None, "", memory=said)


def files(root: Path, monkeypatch: pytest.MonkeyPatch, cgroup: str) -> None:
    """Let the counts be read from here."""
    monkeypatch.setattr(oomkills, "_ROOT", root)
    monkeypatch.setattr(oomkills, "_VMSTAT", root / "vmstat")
    (root / "vmstat").write_text("nr_free 1\noom_kill 7\n")
    monkeypatch.setattr(oomkills, "_PROC", root / "proc")
    (root / "proc" / str(os.getpid())).mkdir(parents=True)
    (root / "proc" / str(os.getpid()) / "cgroup").write_text(cgroup)


@pytest.mark.parametrize(
    ("cgroup", "counts", "limit", "told"),
    [
        ("0::/a/b\n", "a/b/memory.events", "a/b/memory.max", "limited to 64 MiB"),
        ("4:memory:/c\n0::/\n", "memory/c/memory.oom_control", "memory/c/memory.limit_in_bytes", "64 MiB"),
        ("0::/elsewhere\n", "vmstat", "none", "give the machine more"),
    ],
)
def test_the_count_of_the_cgroup_is_preferred_to_that_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cgroup: str, counts: str, limit: str, told: str
) -> None:
    files(tmp_path, monkeypatch, cgroup)
    for name in (counts, limit):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / counts).write_text("low 0\noom_kill 3\n")
    (tmp_path / limit).write_text(str(64 << 20))
    kills = oomkills.Kills(os.getpid())
    assert kills.told() is None
    (tmp_path / counts).write_text("low 0\noom_kill 4\n")
    assert told in (kills.told() or "")


def test_a_count_that_vanishes_tells_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files(tmp_path, monkeypatch, "")
    kills = oomkills.Kills(os.getpid())
    (tmp_path / "vmstat").unlink()
    assert kills.told() is None
