"""A binary of a bad version is not run, and says why; so does one that is not the pinned one."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.core import versions
from agent.core.served import Served
from agent.drivers import base
from agent.drivers.xray import driver, options, process
from tests.agent.drivers.xray import rig

pytestmark = pytest.mark.e2e

OTHER = versions.Version(1, 2, 3)


def script(path: Path, says: str) -> Path:
    """A binary that tells a version, and would leave a trace if it were run."""
    binary = path / "xray"
    binary.write_text(f"#!/bin/sh\n[ \"$1\" = -version ] || touch {path}/ran\necho '{says}'\n")
    binary.chmod(0o755)
    return binary


@contextlib.asynccontextmanager
async def driven(chosen: options.Options) -> AsyncIterator[driver.XrayDriver]:
    with rig.locked(chosen.lock_file):
        async with rig.driven(chosen) as made:
            yield made


async def refused(made: driver.XrayDriver) -> str:
    """Why it does not start; the same is told as a limitation and as its problem, and nothing runs."""
    with pytest.raises(base.DriverError) as caught:
        await made.start(rig.serving(rig.free_port()))
    status = await made.status()
    assert not status.running
    assert status.problem == str(caught.value)
    assert str(caught.value) in made.limitations
    return str(caught.value)


def test_a_bad_version_is_refused_with_the_reason_and_never_run(tmp_path: Path) -> None:
    async def scenario() -> None:
        binary = script(tmp_path, "Xray 25.10.15 (Xray, Penetrates Everything.) Custom (go1.25 linux/amd64)")
        async with driven(rig.choose(tmp_path, binary=binary)) as made:
            assert "receive twice" in await refused(made)
            assert not (tmp_path / "ran").exists()

    asyncio.run(scenario())


def test_a_version_that_is_not_the_pinned_one_is_never_run(tmp_path: Path) -> None:
    async def scenario() -> None:
        binary = script(tmp_path, "Xray 26.10.10 (Xray, Penetrates Everything.)")
        chosen = dataclasses.replace(rig.choose(tmp_path, binary=binary), version=OTHER)
        async with driven(chosen) as made:
            assert "Xray 26.10.10 is not run, since only 1.2.3 may be run here" in await refused(made)
            assert not (tmp_path / "ran").exists()

    asyncio.run(scenario())


def test_the_package_is_held_to_the_pin_as_well_and_is_gone_after_its_refusal(tmp_path: Path) -> None:
    async def scenario() -> None:
        chosen = dataclasses.replace(rig.choose(tmp_path), version=OTHER)
        async with driven(chosen) as made:
            assert "only 1.2.3 may be run here" in await refused(made)
            assert process.find(chosen.run_dir) is None

    asyncio.run(scenario())


def test_the_pinned_version_is_run_and_an_agent_with_another_pin_replaces_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        chosen = rig.choose(tmp_path)
        async with driven(chosen) as made:
            await made.start(rig.serving(rig.free_port()))
            version = versions.bare((await made.status()).version or "")
            await made.leave()
            for pinned, stale in ((version, False), (OTHER, True)):
                other = driver.XrayDriver(dataclasses.replace(chosen, version=pinned))
                adopted = await other.adopt(Served())
                await other.leave()
                assert adopted is not None
                assert adopted.stale == stale

    asyncio.run(scenario())


def test_a_lesser_fault_of_a_version_is_told_as_a_limitation(tmp_path: Path) -> None:
    async def scenario() -> None:
        binary = script(tmp_path, "Xray 26.7.1 (Xray, Penetrates Everything.)")
        async with driven(rig.choose(tmp_path, binary=binary)) as made:
            with pytest.raises(base.DriverError, match="ended with status 0"):
                await made.start(rig.serving(rig.free_port()))
            assert any("mended in 26.7.11" in said for said in made.limitations)

    asyncio.run(scenario())


def test_a_binary_that_does_not_answer_the_question_is_run_all_the_same(tmp_path: Path) -> None:
    async def scenario() -> None:
        binary = script(tmp_path, "what?")
        async with driven(rig.choose(tmp_path, binary=binary)) as made:
            with pytest.raises(base.DriverError, match="ended with status 0"):
                await made.start(rig.serving(rig.free_port()))
            assert (tmp_path / "ran").exists()
            assert any("does not tell its version" in said for said in made.limitations)

    asyncio.run(scenario())


def test_a_core_that_runs_is_ended_when_it_may_not_be_run_any_more(tmp_path: Path) -> None:
    async def scenario() -> None:
        chosen = rig.choose(tmp_path)
        async with driven(chosen) as made:
            await made.start(rig.serving(rig.free_port()))
            await made.leave()
            other = driver.XrayDriver(
                dataclasses.replace(chosen, binary=script(tmp_path, "Xray 26.1.1"), version=OTHER)
            )
            assert await other.adopt(Served()) is not None
            assert "only 1.2.3" in await refused(other)
            assert process.find(chosen.run_dir) is None

    asyncio.run(scenario())
