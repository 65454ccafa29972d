"""Without an agent nobody is served for long; what was counted waits for the next one, who decides anew."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from agent.core.served import Served
from agent.drivers.wireguard import guard, register
from tests.agent.drivers.wireguard import rig
from tests.kit import netns, waiting, wireguard

pytestmark = rig.real
ANNA = wireguard.user(2)
_FENCE_S = 0.6


@contextlib.contextmanager
def _agent(path: Path) -> Iterator[None]:
    """Hold the lock as a living agent does."""
    descriptor = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def test_users_are_cut_off_when_no_agent_is_left_and_counts_wait_for_the_next_one(tmp_path: Path) -> None:
    before = contextlib.ExitStack()

    async def play(at: rig.Rig) -> None:
        with at.client(ANNA), at.up(ANNA) as up, at.down(ANNA) as down:
            waiting.until(lambda: guard.runs(at.chosen.run_dir), within_s=5, what="a guard")
            wireguard.connected(up)
            assert up.send(50, 1000) == 50
            counted = await at.count(ANNA)
            await at.driver.leave()
            before.close()
            mark = guard.mark(at.chosen.run_dir, at.interface)
            waiting.until(lambda: mark.exists() and mark.read_text(), within_s=10, what="the fence")
            assert "UP" not in _flags(at.interface)
            assert not up.passes()
            with _agent(tmp_path):
                async with rig.another(at.chosen) as following:
                    adopted = await following.adopt(Served())
                    assert adopted is not None
                    assert adopted.served.accounts == {}
                    assert (await following.read())[0].counts[ANNA.meter].up >= counted.up
                    assert not mark.exists()
                    assert not down.passes()
                    assert await following.add([ANNA.account()]) == {}
                    waiting.until(down.passes, within_s=20, what="a new session")

    with before:
        before.enter_context(_agent(tmp_path))
        rig.run(tmp_path, play, ANNA.account(), fence_s=_FENCE_S)


def test_a_guard_ends_with_the_last_interface_and_there_is_one_of_a_directory(tmp_path: Path) -> None:
    async def play(at: rig.Rig) -> None:
        waiting.until(lambda: guard.runs(at.chosen.run_dir), within_s=5, what="a guard")
        assert guard.main(at.chosen.run_dir, tmp_path / "lock", _FENCE_S) == 0
        await at.driver.withdraw(at.endpoint.endpoint)
        waiting.until(lambda: not guard.runs(at.chosen.run_dir), within_s=5, what="the guard to end")
        assert register.found(at.chosen.run_dir) == []

    with _agent(tmp_path):
        rig.run(tmp_path, play, fence_s=_FENCE_S)


def _flags(interface: str) -> list[str]:
    return netns.ip("link", "show", "dev", interface).split("<")[1].split(">")[0].split(",")
