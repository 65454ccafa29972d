"""The lab leaves nothing behind, and its places are where they say."""

import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit import lab, netns, programs, waiting

_NEEDS_ROOT = lab.why_no_namespaces()
_netns = pytest.mark.skipif(_NEEDS_ROOT is not None, reason=_NEEDS_ROOT or "")


def _dead_pid() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def _start_a_sleeper_and_break(sleepers: list[subprocess.Popen[bytes]]) -> None:
    with lab.namespaces(["node"]) as places:
        with places["node"].inside():
            sleepers.append(subprocess.Popen(["sleep", "60"]))
        raise ZeroDivisionError


@pytest.fixture
def left_behind() -> Iterator[str]:
    namespace = f"tg{_dead_pid()}-{secrets.token_hex(2)}-node"
    netns.make(namespace)
    yield namespace
    netns.remove(namespace)


@pytest.mark.netns
@_netns
def test_namespaces_and_what_runs_in_them_are_gone_after_an_error() -> None:
    sleepers: list[subprocess.Popen[bytes]] = []
    with pytest.raises(ZeroDivisionError):
        _start_a_sleeper_and_break(sleepers)
    assert sleepers[0].wait(5) < 0
    assert not list(Path("/run/netns").glob(f"tg{os.getpid()}-*"))


@pytest.mark.netns
@_netns
def test_places_reach_each_other_under_their_own_addresses() -> None:
    with lab.namespaces(["node", "home"]) as places:
        node, home = places["node"], places["home"]
        with node.inside(), socket.create_server((node.address, 0)) as server:
            port = server.getsockname()[1]
            with home.inside(), socket.create_connection((node.address, port), timeout=5):
                peer = server.accept()
        with peer[0]:
            assert peer[1][0] == home.address


@pytest.mark.netns
@_netns
def test_only_namespaces_of_dead_processes_are_removed(left_behind: str) -> None:
    with lab.namespaces(["node"]) as places:
        assert left_behind not in netns.remove_leftovers()
        assert not Path("/run/netns", left_behind).exists()
        assert Path("/run/netns", str(places["node"].namespace)).exists()


def test_the_lab_on_loopback_says_what_it_cannot_prove() -> None:
    with lab.loopback(["node"]) as places:
        assert places.limitations
        assert places["node"].address != places["hub"].address
        with places["node"].inside(), socket.socket() as probe:
            probe.bind((places["node"].address, places["node"].free_port()))


def test_programs_end_with_their_block(tmp_path: Path) -> None:
    with lab.loopback([]) as places, programs.opened(tmp_path) as running:
        sleeper = running.start("sleeper", ["sleep", "60"], place=places["hub"])
        assert programs.is_alive(sleeper.pid)
    assert not programs.is_alive(sleeper.pid)


def test_a_program_dies_with_the_one_that_started_it(tmp_path: Path) -> None:
    script = (
        "import pathlib, sys; from tests.kit import lab, programs\n"
        "with lab.loopback([]) as places:\n"
        f"    running = programs.Programs(pathlib.Path({str(tmp_path)!r}))\n"
        "    child = running.start('sleeper', ['sleep', '60'], place=places['hub'])\n"
        "    print(child.pid, flush=True); sys.stdin.read()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=programs.ROOT,
        env=programs.clean_environment(),
    )
    with parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        command = Path("/proc", str(pid), "cmdline")
        waiting.until(lambda: command.read_bytes().startswith(b"sleep"), within_s=5, what="the tether")
        parent.kill()
    programs.gone(pid)
