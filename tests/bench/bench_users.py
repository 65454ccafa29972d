"""Users a second into and out of a real Xray, through the agent's driver: 10,000 and 50,000 of them.

Parts: `rates` are those of VLESS, into an Xray that runs and out of it, with a new endpoint, with a start;
`kinds` those of 10,000 users of every kind of accounts.
"""

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from pathlib import Path

from agent.core.counting import Meter
from agent.core.served import Served
from agent.drivers.xray.driver import XrayDriver
from agent.drivers.xray.options import Options
from shared.messages import Account, Endpoint
from tests.agent.drivers.xray import kinds_of_endpoints
from tests.bench.asked import Asked
from tests.bench.figure import Figure
from tests.kit import lab

_COUNTS, _QUICK_COUNTS = (10_000, 50_000), (500,)
_GOAL_PER_S = 5_000.0


def measure(asked: Asked) -> list[Figure]:
    """What is asked for."""
    counts = _QUICK_COUNTS if asked.quick else _COUNTS
    figures: list[Figure] = []
    with lab.opened([]) as places, places["hub"].inside():
        if asked.wants("rates"):
            for count in counts:
                figures += asyncio.run(_live("vless", count)) + asyncio.run(_whole("vless", count))
        if asked.wants("kinds"):
            for kind in kinds_of_endpoints.KINDS:
                figures += asyncio.run(_live(kind, counts[0], f" ({kind})"))
    return figures


async def _live(kind: str, count: int, note: str = "") -> list[Figure]:
    """Into an Xray that runs, and out of it."""
    async with _driven(kind) as (driver, endpoint):
        await driver.start(_served(endpoint, []))
        accounts = [kinds_of_endpoints.account(user) for user in range(1, count + 1)]
        adding = await _rate(driver.add(accounts), count)
        await _check(driver, count)
        removing = await _rate(driver.block([_meter(account) for account in accounts]), count)
        await _check(driver, 0)
    goal = _GOAL_PER_S if not note else None
    return [
        _figure(f"{count:,} users added{note}", adding, goal),
        _figure(f"{count:,} users removed{note}", removing, goal),
    ]


async def _whole(kind: str, count: int) -> list[Figure]:
    """With the start of Xray, and with an endpoint that is placed in one that runs."""
    async with _driven(kind) as (driver, endpoint):
        accounts = [kinds_of_endpoints.account(user) for user in range(1, count + 1)]
        starting = await _rate(driver.start(_served(endpoint, accounts)), count)
        await _check(driver, count)
        await driver.withdraw(endpoint.endpoint)
        placing = await _rate(driver.place(endpoint, accounts), count)
        await _check(driver, count)
    return [
        _figure(f"{count:,} users of a start", starting),
        _figure(f"{count:,} users of a new endpoint", placing),
    ]


@contextlib.asynccontextmanager
async def _driven(kind: str) -> AsyncIterator[tuple[XrayDriver, Endpoint]]:
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as name:
        directory = Path(name)
        driver = XrayDriver(Options(run_dir=directory / "run", lock_file=directory / "agent.lock"))
        try:
            yield driver, kinds_of_endpoints.endpoint(kind, directory)
        finally:
            await driver.stop()


async def _rate(work: Coroutine[None, None, object], count: int) -> float:
    began_s = time.monotonic()
    if refused := await work:
        raise RuntimeError(f"users were refused: {refused!r:.200}")
    return count / (time.monotonic() - began_s)


async def _check(driver: XrayDriver, count: int) -> None:
    served = len((await driver.served()).accounts)
    if served != count:
        raise RuntimeError(f"Xray serves {served} users of {count}")


def _served(endpoint: Endpoint, accounts: Sequence[Account]) -> Served:
    return Served({endpoint.endpoint: endpoint}, {_meter(account): account for account in accounts})


def _meter(account: Account) -> Meter:
    return Meter(account.user, account.endpoint)


def _figure(name: str, rate: float, goal: float | None = None) -> Figure:
    return Figure(name=name, value=round(rate), unit="1/s", goal=goal, better="higher")
