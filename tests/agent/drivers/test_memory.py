"""The driver without a program keeps the promises that the real ones keep."""

import asyncio

import pytest

from agent.core import counting
from agent.core.served import Served
from agent.drivers import base, memory
from shared.messages import Account, Endpoint
from shared.names import EndpointId, UserId

ENDPOINT = Endpoint(endpoint=EndpointId(1), protocol="vless", port=443)
ACCOUNT = Account(user=UserId(1), endpoint=EndpointId(1), uuid="any")
METER = counting.Meter(ACCOUNT.user, ACCOUNT.endpoint)
SERVED = Served(endpoints={ENDPOINT.endpoint: ENDPOINT}, accounts={METER: ACCOUNT})


def test_traffic_is_counted_until_block_and_cut() -> None:
    async def scenario() -> None:
        core = memory.MemoryDriver()
        await core.start(SERVED)
        assert core.traffic(METER, up=1, down=2)
        await core.block([METER])
        assert core.traffic(METER, down=3)  # the connection he has goes on
        assert await core.cut([METER]) == base.Cut(1)
        assert not core.traffic(METER, down=4)
        assert (await core.read())[0].counts == {METER: counting.Count(1, 5)}

    asyncio.run(scenario())


def test_a_crash_ends_the_generation_and_is_told() -> None:
    async def scenario() -> None:
        core = memory.MemoryDriver()
        await core.start(SERVED)
        first = (await core.read())[0].generation
        core.crash("lightning")
        assert await core.exited() == "lightning"
        with pytest.raises(base.CoreDownError):
            await core.read()
        assert await core.adopt(Served()) is None
        await core.start(SERVED)
        assert (await core.read())[0].generation != first

    asyncio.run(scenario())


def test_faults_come_when_they_were_asked_for() -> None:
    async def scenario() -> None:
        core = memory.MemoryDriver()
        await core.start(SERVED)
        core.fail("read", base.DriverError("once"))
        with pytest.raises(base.DriverError, match="once"):
            await core.read()
        await core.read()
        core.hanging = True
        with pytest.raises(base.DriverError, match="did not answer"):
            await core.add([ACCOUNT])
        assert (await core.status()).problem
        await core.start(SERVED)
        assert (await core.status()).problem is None

    asyncio.run(scenario())


def test_a_gate_holds_calls_until_it_is_opened() -> None:
    async def scenario() -> None:
        core = memory.MemoryDriver()
        await core.start(SERVED)
        core.gate = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(core.read())
            await asyncio.sleep(0)
            assert not reading.done()
            core.gate.set()
        assert reading.result()[0].counts == {}

    asyncio.run(scenario())


def test_accounts_of_endpoints_that_are_not_served_are_refused() -> None:
    async def scenario() -> None:
        core = memory.MemoryDriver()
        await core.start(Served(endpoints=SERVED.endpoints))
        stray = Account(user=UserId(1), endpoint=EndpointId(2), uuid="any")
        refused = await core.add([ACCOUNT, stray])
        assert list(refused) == [counting.Meter(UserId(1), EndpointId(2))]
        assert await core.served() == SERVED

    asyncio.run(scenario())
