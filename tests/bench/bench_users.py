"""Users added per second to a real Xray, through the agent's driver: 10,000 to an empty one, 10,000 more."""

import asyncio
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

from agent.core.served import Served
from agent.drivers.xray.driver import XrayDriver
from agent.drivers.xray.options import Options
from shared.messages import Account, Endpoint
from shared.names import EndpointId, UserId
from tests.bench.asked import Asked
from tests.bench.figure import Figure
from tests.kit import lab

_USERS = 10_000
_GOAL_PER_S = 5_000.0
_ENDPOINT = EndpointId(1)


def measure(_asked: Asked) -> list[Figure]:
    """Rates of both halves."""
    with (
        lab.opened([]) as places,
        tempfile.TemporaryDirectory(prefix="tidegate-bench-") as name,
        places["hub"].inside(),
    ):
        rates = asyncio.run(_add_twice(Path(name), places["hub"].free_port()))
    names = ("users added to an empty Xray", f"users added to an Xray with {_USERS:,} users")
    return [
        Figure(name=name, value=round(rate), unit="1/s", goal=_GOAL_PER_S, better="higher")
        for name, rate in zip(names, rates, strict=True)
    ]


async def _add_twice(directory: Path, port: int) -> list[float]:
    driver = XrayDriver(Options(run_dir=directory / "run", lock_file=directory / "agent.lock"))
    endpoint = Endpoint(endpoint=_ENDPOINT, protocol="vless", port=port, listen="127.0.0.1")
    await driver.start(Served(endpoints={_ENDPOINT: endpoint}))
    try:
        rates = [await _add(driver, _accounts(half * _USERS)) for half in range(2)]
        served = len((await driver.served()).accounts)
        if served != 2 * _USERS:
            raise RuntimeError(f"Xray serves {served} users of {2 * _USERS}")
    finally:
        await driver.stop()
    return rates


async def _add(driver: XrayDriver, accounts: Sequence[Account]) -> float:
    began_s = time.monotonic()
    refused = await driver.add(accounts)
    taken_s = time.monotonic() - began_s
    if refused:
        raise RuntimeError(f"{len(refused)} users were refused: {next(iter(refused.values()))}")
    return len(accounts) / taken_s


def _accounts(first: int) -> list[Account]:
    return [
        Account(user=UserId(first + number), endpoint=_ENDPOINT, uuid=str(uuid.uuid4()))
        for number in range(1, _USERS + 1)
    ]
