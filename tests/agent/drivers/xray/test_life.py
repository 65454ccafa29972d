"""Adoption, crash and end of a real Xray in its host."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from agent.core.served import Served
from agent.drivers import base, pids
from agent.drivers.xray import driver, options, process, runfile, sockets
from tests.agent.drivers.xray import rig
from tests.kit import programs, source, vless

pytestmark = pytest.mark.e2e


def test_xray_outlives_a_killed_agent_and_the_next_one_takes_it_over(tmp_path: Path) -> None:
    first, second = rig.account(1), rig.account(2)

    async def scenario() -> None:
        port, chosen = rig.free_port(), rig.choose(tmp_path)
        with (
            source.Source() as bytes_from,
            rig.owner(tmp_path, port, first.uuid, second.uuid) as (child, name),
        ):
            async with (
                rig.driven(chosen) as made,
                vless.tunnel(port, first.uuid, bytes_from.port, source=rig.HOME) as one,
                vless.tunnel(port, second.uuid, bytes_from.port, source=rig.HOME) as two,
            ):
                assert await one.get("/bytes/400000") == 400_000
                assert await two.get("/bytes/10") == 10
                child.kill()
                child.wait()
                with rig.locked(chosen.lock_file):
                    wanted = rig.serving(port, first, second)
                    assert await made.adopt(wanted) == base.Adopted(wanted)
                    (reading,) = await made.read()
                    assert reading.generation == name
                    assert reading.counts[rig.meter(1)].down == one.taken
                    assert await two.get("/bytes/10") == 10
                    if sockets.refusal() is None:
                        await made.block([rig.meter(1)])
                        assert await made.cut([rig.meter(1)]) == base.Cut(1, left=False)
                        assert await one.ended()
                        assert await two.get("/bytes/10") == 10
                    assert await made.add([first]) == {}

    asyncio.run(scenario())


def test_who_waits_for_an_exit_hears_of_an_xray_adopted_meanwhile(tmp_path: Path) -> None:
    async def scenario() -> None:
        with rig.owner(tmp_path, rig.free_port()):
            async with rig.driven(rig.choose(tmp_path)) as made, asyncio.TaskGroup() as group:
                waiting = group.create_task(made.exited())
                for _ in range(2):
                    assert await made.adopt(Served()) is not None
                await made.leave()
                assert await made.adopt(Served()) is not None
                assert not waiting.done()
                os.kill(rig.host_pid(tmp_path), signal.SIGKILL)
                async with asyncio.timeout(5):
                    assert await waiting

    asyncio.run(scenario())


def test_the_end_of_an_adopted_xray_is_seen(tmp_path: Path) -> None:
    async def scenario() -> None:
        chosen = rig.choose(tmp_path)
        with rig.owner(tmp_path, rig.free_port()):
            async with rig.driven(chosen) as made:
                assert await made.adopt(Served()) is not None
                os.kill(rig.host_pid(tmp_path), signal.SIGKILL)
                async with asyncio.timeout(5):
                    assert (await made.exited()).startswith("Xray ended")

    asyncio.run(scenario())


def test_an_xray_with_other_options_is_taken_over_but_serves_nothing_wanted(tmp_path: Path) -> None:
    async def scenario() -> None:
        account = rig.account(1)
        with rig.owner(tmp_path, port := rig.free_port(), account.uuid) as (_, name):
            async with rig.driven(rig.choose(tmp_path, private=False)) as made:
                wanted = rig.serving(port, account)
                assert await made.adopt(wanted) == base.Adopted(wanted, stale=True)
                assert (await made.read())[0].generation == name

    asyncio.run(scenario())


def test_that_an_earlier_xray_is_gone_is_told_by_who_looked_for_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        chosen = rig.choose(tmp_path)
        with rig.owner(tmp_path, rig.free_port()) as (_, name):
            os.kill(rig.host_pid(tmp_path), signal.SIGKILL)
        async with rig.driven(chosen) as made:
            await rig.until(lambda: _ended(chosen))
            assert await made.adopt(Served()) is None
            assert (await made.status()).problem == f"the Xray that an earlier agent started, {name}, is gone"

    asyncio.run(scenario())


def test_there_is_nothing_to_adopt_on_a_fresh_node(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig.driven(rig.choose(tmp_path)) as made:
            assert await made.adopt(Served()) is None
            with pytest.raises(base.CoreDownError):
                await made.read()
            status = await made.status()
            assert (status.running, status.problem) == (False, "Xray has not been started")
            assert await made.cut([rig.meter(1)]) == base.Cut(0)

    asyncio.run(scenario())


def test_another_process_with_the_pid_of_the_run_file_is_not_taken_for_xray(tmp_path: Path) -> None:
    async def scenario() -> None:
        chosen = rig.choose(tmp_path)
        process.prepare(chosen.run_dir)
        runfile.write(chosen.run_dir, runfile.Run(os.getpid(), 1, "old", "digest", ()))
        async with rig.driven(chosen) as made:
            assert await made.adopt(Served()) is None
            await made.stop()  # and is not ended either, or this test would be

    asyncio.run(scenario())


def test_a_start_replaces_what_an_earlier_agent_left(tmp_path: Path) -> None:
    async def scenario() -> None:
        port, chosen = rig.free_port(), rig.choose(tmp_path)
        with rig.owner(tmp_path, port) as (child, name):
            child.kill()
            child.wait()
            left_over = rig.host_pid(tmp_path)
            async with rig.driven(chosen) as made:
                with rig.locked(chosen.lock_file):
                    await made.start(rig.serving(port, rig.account(1)))
                    assert (await made.read())[0].generation != name
                    assert pids.start_time(left_over) is None

    asyncio.run(scenario())


def test_a_crash_is_seen_and_told_with_its_cause(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig.running(tmp_path, 1) as lab:
            os.kill(rig.host_pid(tmp_path), signal.SIGKILL)
            async with asyncio.timeout(5):
                assert "signal 9" in await lab.driver.exited()
            with pytest.raises(base.CoreDownError):
                await lab.driver.read()
            with pytest.raises(base.CoreDownError):
                await lab.driver.block([rig.meter(1)])
            await lab.driver.start(rig.serving(lab.port, lab.accounts[1]))
            assert await lab.works(1)

    asyncio.run(scenario())


def test_a_stop_is_not_told_as_an_exit(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig.running(tmp_path) as lab:
            async with asyncio.TaskGroup() as group:
                waiting = group.create_task(lab.driver.exited())
                await lab.driver.stop()
                await asyncio.wait([waiting], timeout=0.2)
                assert not waiting.done()
                waiting.cancel()
            assert runfile.read(lab.chosen.run_dir) is not None
            assert process.find(lab.chosen.run_dir) is None

    asyncio.run(scenario())


def test_calls_under_way_when_xray_is_stopped_say_that_it_is_down(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig.running(tmp_path) as lab:
            programs.suspend(rig.host_pid(tmp_path))
            async with asyncio.timeout(8), asyncio.TaskGroup() as group:
                reading = group.create_task(_down(lab.driver))
                status = await lab.driver.status()
                assert status.running
                assert status.problem == "Xray did not answer within 1 s"
                group.create_task(lab.driver.stop())
            assert reading.result()

    asyncio.run(scenario())


async def _ended(chosen: options.Options) -> bool:
    run = runfile.read(chosen.run_dir)
    return run is not None and not runfile.alive(run)


async def _down(made: driver.XrayDriver) -> bool:
    try:
        await made.read()
    except base.CoreDownError:
        return True
    return False
