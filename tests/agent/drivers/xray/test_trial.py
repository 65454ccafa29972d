"""Dry starts in a throw-away Xray: what is refused and in which words, and that nothing of them stays."""

import asyncio
from pathlib import Path

import msgspec
import psutil
import pytest

from agent.core.served import Served
from agent.drivers import base
from agent.drivers.xray import driver, trial
from shared import endpoints
from shared.messages import Endpoint
from shared.names import EndpointId
from tests.agent.drivers.xray import kinds_of_endpoints, rig

pytestmark = pytest.mark.e2e

PLAIN = Endpoint(endpoint=EndpointId(3), protocol="vless", port=443)


@pytest.mark.parametrize(
    ("extra", "culprit"),
    [
        ({"streamSettings": {"sockopt": {"tproxy": 5}}}, "'streamSettings.sockopt.tproxy' of extra"),
        ({"sniffing": {"enabled": True, "destOverride": ["what"]}}, "'sniffing.destOverride' of extra"),
        ({"settings": {"fallbacks": [{"dest": "", "path": "x"}]}}, "'settings.fallbacks' of extra"),
        ({"streamSettings": {"network": "smoke"}}, "'streamSettings.network' of extra"),
    ],
)
def test_the_part_of_extra_that_xray_refuses_is_named(
    tmp_path: Path, extra: dict[str, object], culprit: str
) -> None:
    async def scenario() -> None:
        made = driver.XrayDriver(rig.choose(tmp_path))
        good = {"sniffing": {"enabled": True, "routeOnly": True}}
        with pytest.raises(base.DriverError) as refused:
            await made.check(msgspec.structs.replace(PLAIN, extra=good | extra))
        assert str(refused.value) == f"endpoint 3: Xray does not take {culprit}: it does not say why"
        await made.check(msgspec.structs.replace(PLAIN, extra=good))

    asyncio.run(scenario())


def test_the_words_of_a_binary_are_told(tmp_path: Path) -> None:
    binary = tmp_path / "xray"
    binary.write_text("#!/bin/sh\necho 'Failed to start: 192.0.2.7 is full'\nexit 23\n")
    binary.chmod(0o755)

    async def scenario() -> None:
        made = driver.XrayDriver(rig.choose(tmp_path, binary=binary))
        with pytest.raises(base.DriverError, match=r"Failed to start: \[address\] is full"):
            await made.check(PLAIN)

    asyncio.run(scenario())


def test_of_several_endpoints_only_the_bad_ones_are_refused(tmp_path: Path) -> None:
    async def scenario() -> None:
        trials = trial.Trials(rig.choose(tmp_path))
        good = [
            kinds_of_endpoints.endpoint(kind, tmp_path, 10 + n)
            for n, kind in enumerate(kinds_of_endpoints.KINDS)
        ]
        assert await trials.problems(good) == {}
        bad = msgspec.structs.replace(PLAIN, extra={"sniffing": {"destOverride": ["what"]}})
        assert set(await trials.problems([*good, bad])) == {EndpointId(3)}

    asyncio.run(scenario())


def test_a_start_that_xray_refuses_is_told_with_the_part_that_is_to_blame(tmp_path: Path) -> None:
    async def scenario() -> None:
        served = rig.serving(rig.free_port())
        (only,) = served.endpoints.values()
        bad = msgspec.structs.replace(only, extra={"sniffing": {"destOverride": ["what"]}})
        chosen = rig.choose(tmp_path)
        with rig.locked(chosen.lock_file):
            async with rig.driven(chosen) as made:
                with pytest.raises(base.DriverError, match=r"status 23.*'sniffing.destOverride' of extra"):
                    await made.start(Served({bad.endpoint: bad}))

    asyncio.run(scenario())


def test_nothing_of_a_trial_stays(tmp_path: Path) -> None:
    async def scenario() -> None:
        chosen = rig.choose(tmp_path)
        before = {child.pid for child in psutil.Process().children(recursive=True)}
        made = driver.XrayDriver(chosen)
        await made.check(msgspec.structs.replace(PLAIN, transport=endpoints.Mkcp(seed="pumpkin")))
        assert {child.pid for child in psutil.Process().children(recursive=True)} == before
        assert list(chosen.run_dir.iterdir()) == []

    asyncio.run(scenario())
