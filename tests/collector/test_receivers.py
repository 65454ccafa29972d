"""Receivers: everybody gets what he wants, nobody who writes waits, what does not fit is counted."""

import asyncio
from collections.abc import Awaitable, Callable

from collector import receivers
from collector.domain.events import Recorded, Wanted
from collector.receivers import Receivers


def event(number: int, kind: str = "USER_RESET") -> Recorded:
    return Recorded(number=number, at_ms=number, actor="system:0", kind=kind, subject="user:1", data={})


def stored(events: list[Recorded]) -> Callable[[int, int], Awaitable[list[Recorded]]]:
    """Reads as the database would."""

    async def read(after: int, limit: int) -> list[Recorded]:
        return [one for one in events if one.number > after][:limit]

    return read


def _numbers(events: list[Recorded]) -> list[int]:
    return [one.number for one in events]


def test_one_event_reaches_every_receiver_that_wants_it() -> None:
    async def scenario() -> list[list[int]]:
        all_of_them = Receivers()
        resets, every = Wanted(kind="USER_RESET"), Wanted()
        with all_of_them.listening(resets, 0) as one, all_of_them.listening(every, 0) as two:
            await all_of_them.look(stored([event(1), event(2, "USER_CREATED"), event(3)]))
            return [_numbers(await one.take(0)), _numbers(await two.take(0)), _numbers(await two.take(0))]

    assert asyncio.run(scenario()) == [[1, 3], [1, 2, 3], []]


def test_a_full_buffer_drops_and_counts_and_holds_up_nobody() -> None:
    async def scenario() -> tuple[list[int], int, list[int]]:
        all_of_them = Receivers()
        with all_of_them.listening(Wanted(), 0, 2) as slow, all_of_them.listening(Wanted(), 0) as quick:
            await all_of_them.look(stored([event(number) for number in range(1, 6)]))
            return _numbers(await slow.take(0)), slow.dropped, _numbers(await quick.take(0))

    assert asyncio.run(scenario()) == ([1, 2], 3, [1, 2, 3, 4, 5])


def test_more_than_a_page_is_handed_out_in_its_order() -> None:
    async def scenario() -> list[int]:
        all_of_them = Receivers()
        many = [event(number) for number in range(1, receivers.PAGE * 2 + 2)]
        with all_of_them.listening(Wanted(), 0, len(many)) as one:
            await all_of_them.look(stored(many))
            return _numbers(await one.take(0))

    assert asyncio.run(scenario()) == list(range(1, receivers.PAGE * 2 + 2))


def test_while_nobody_listens_nothing_is_read() -> None:
    async def read(_after: int, _limit: int) -> list[Recorded]:
        raise AssertionError("it was read")

    async def scenario() -> None:
        all_of_them = Receivers()
        all_of_them.wake()
        await all_of_them.look(read)
        with all_of_them.listening(Wanted(), 0):
            pass
        await all_of_them.look(read)

    asyncio.run(scenario())


def test_who_begins_to_listen_after_others_have_left_misses_nothing_since_his_place() -> None:
    async def scenario() -> list[int]:
        all_of_them, events = Receivers(), [event(1), event(2)]
        with all_of_them.listening(Wanted(), 0):
            await all_of_them.look(stored(events))
        events += [event(3), event(4)]
        with all_of_them.listening(Wanted(), 3) as one:
            events.append(event(5))
            await all_of_them.look(stored(events))
            return _numbers(await one.take(0))

    assert asyncio.run(scenario()) == [4, 5]


def test_a_commit_that_is_told_reaches_a_receiver_that_waits() -> None:
    async def scenario() -> list[int]:
        all_of_them, events = Receivers(), [event(1)]
        async with asyncio.TaskGroup() as group:
            following = group.create_task(all_of_them.follow(stored(events)))
            with all_of_them.listening(Wanted(), 1) as one:
                waiting = group.create_task(one.take(10.0))
                await asyncio.sleep(0)
                events.append(event(2))
                all_of_them.wake()
                found = await waiting
            following.cancel()
        return _numbers(found)

    assert asyncio.run(scenario()) == [2]


def test_a_close_ends_every_wait_and_every_later_one() -> None:
    async def scenario() -> list[object]:
        all_of_them = Receivers()
        with all_of_them.listening(Wanted(), 0) as one:
            async with asyncio.TaskGroup() as group:
                wait = group.create_task(one.take(60.0))
                await asyncio.sleep(0)
                all_of_them.close()
            assert one.closed
        with all_of_them.listening(Wanted(), 0) as late:
            return [wait.result(), await late.take(60.0), all_of_them.all() == {late}]

    assert asyncio.run(scenario()) == [[], [], True]
