"""A crowd waits in its order, is told in time, and costs nothing when it has left."""

import asyncio
from http import HTTPStatus

import pytest
from starlette.requests import ClientDisconnect

from collector.fronts.rest.problems import Rejected
from collector.fronts.rest.turns import Turns

_LONG_S = 10.0
_AT_ONCE = 0.0


async def _stays() -> bool:
    return False


async def _has_left() -> bool:
    return True


def test_no_more_work_at_once_than_there_are_turns_and_in_the_order_of_coming() -> None:
    async def scenario() -> tuple[int, list[int]]:
        turns, working, most, begun = Turns(3, _LONG_S), 0, 0, list[int]()

        async def work(number: int) -> None:
            nonlocal working, most
            async with turns.one(_stays):
                begun.append(number)
                working += 1
                most = max(most, working)
                await asyncio.sleep(0)
                working -= 1

        async with asyncio.TaskGroup() as group:
            for number in range(20):
                group.create_task(work(number))
        return most, begun

    assert asyncio.run(scenario()) == (3, list(range(20)))


def test_who_waited_too_long_is_told_to_come_again_and_the_turn_is_not_lost() -> None:
    async def scenario() -> None:
        turns = Turns(1, _AT_ONCE)
        async with turns.one(_stays):
            with pytest.raises(Rejected, match="later") as told:
                async with turns.one(_stays):
                    pytest.fail("there was one turn only")
        assert told.value.status is HTTPStatus.SERVICE_UNAVAILABLE
        async with turns.one(_stays):
            pass

    asyncio.run(scenario())


def test_nothing_is_done_for_whoever_left_while_he_waited() -> None:
    async def scenario() -> None:
        turns = Turns(1, _LONG_S)

        async def leaves() -> None:
            with pytest.raises(ClientDisconnect):
                async with turns.one(_has_left):
                    pytest.fail("nobody waits for this any more")

        async with asyncio.TaskGroup() as group, turns.one(_has_left):  # did not wait: is not asked
            left = group.create_task(leaves())
            await asyncio.sleep(0)
            assert not left.done()
        async with turns.one(_stays):
            pass

    asyncio.run(scenario())


def test_work_that_fails_gives_its_turn_back() -> None:
    async def scenario() -> None:
        turns = Turns(1, _AT_ONCE)
        for _ in range(3):
            with pytest.raises(ValueError, match="by itself"):
                async with turns.one(_stays):
                    raise ValueError("by itself")

    asyncio.run(scenario())
