"""The hub: a wake is never lost, and a closed hub keeps nobody waiting."""

import asyncio
import time

from collector.hub import Hub
from shared.names import NodeId

ONE, TWO = NodeId(1), NodeId(2)


def test_a_wake_before_the_wait_is_not_lost() -> None:
    async def scenario() -> bool:
        hub = Hub()
        with hub.listening(ONE) as ear:
            hub.wake([ONE])
            return await ear.wait(0.0)

    assert asyncio.run(scenario())


def test_a_wake_counts_once() -> None:
    async def scenario() -> list[bool]:
        hub = Hub()
        with hub.listening(ONE) as ear:
            hub.wake([ONE])
            hub.wake([ONE])
            return [await ear.wait(0.01), await ear.wait(0.01)]

    assert asyncio.run(scenario()) == [True, False]


def test_only_the_nodes_named_are_woken() -> None:
    async def scenario() -> tuple[bool, bool]:
        hub = Hub()
        with hub.listening(ONE) as one, hub.listening(TWO) as two:
            hub.wake([TWO, NodeId(3)])
            return await one.wait(0.01), await two.wait(0.01)

    assert asyncio.run(scenario()) == (False, True)


def test_all_listeners_of_a_node_are_woken() -> None:
    async def scenario() -> list[bool]:
        hub = Hub()
        with hub.listening(ONE) as one, hub.listening(ONE) as two:
            async with asyncio.TaskGroup() as group:
                waits = [group.create_task(ear.wait(5.0)) for ear in (one, two)]
                await asyncio.sleep(0)
                hub.wake_all()
            return [wait.result() for wait in waits]

    assert asyncio.run(scenario()) == [True, True]


def test_a_wait_without_a_wake_ends_after_its_time() -> None:
    async def scenario() -> bool:
        hub = Hub()
        with hub.listening(ONE) as ear:
            return await ear.wait(0.02)

    assert not asyncio.run(scenario())


def test_a_closed_hub_ends_every_wait_and_every_later_one() -> None:
    async def scenario() -> list[bool]:
        hub = Hub()
        with hub.listening(ONE) as ear:
            async with asyncio.TaskGroup() as group:
                wait = group.create_task(ear.wait(30.0))
                await asyncio.sleep(0)
                hub.close()
            again = await ear.wait(30.0)
        with hub.listening(ONE) as late:
            assert late.closed
            return [wait.result(), again, await late.wait(30.0)]

    started_s = time.monotonic()
    assert asyncio.run(scenario()) == [False, False, False]
    assert time.monotonic() - started_s < 5


def test_nothing_is_kept_of_those_who_have_gone() -> None:
    hub = Hub()
    with hub.listening(ONE), hub.listening(ONE), hub.listening(TWO):
        assert hub.waiting() == 3
    assert hub.waiting() == 0
    hub.wake([ONE, TWO])
    assert vars(hub)["_ears"] == {}
