"""Who is connected is told by hashes; the addresses themselves are in nothing that leaves the loop."""

import asyncio
import ipaddress
import logging
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from agent.core import sessions
from agent.core.counting import Meter
from agent.drivers.memory import MemoryDriver
from agent.link import LinkError
from agent.loops.sessions import SessionsLoop
from agent.loops.sync import SyncLoop
from shared.messages import Place
from shared.names import MAX_SIGHTINGS, MAX_USER_SIGHTINGS, EndpointId, UserId
from tests.agent import fleet

ALICE, BOB = Meter(UserId(1), EndpointId(1)), Meter(UserId(2), EndpointId(1))
HOME, CAFE = ipaddress.ip_address("198.51.100.7"), ipaddress.ip_address("2001:db8:5:6::9")
CAFE_TOO = ipaddress.ip_address("2001:db8:5:6::a")


@dataclass(frozen=True)
class Found:
    """What a file of places says."""

    country: str | None
    city: str | None
    isp: str | None


def staffed() -> fleet.Collector:
    collector = fleet.Collector()
    collector.want(fleet.endpoint(), fleet.account(1), fleet.account(2))
    return collector


def told(collector: fleet.Collector) -> list[tuple[int, str]]:
    return sorted((row.user, row.address) for row in collector.sightings[-1].rows)


def test_who_is_connected_is_told_by_his_address_hash_and_each_address_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            await SyncLoop(node).compare_once()
            driver.connect(ALICE, HOME, CAFE, CAFE_TOO)
            driver.connect(BOB, HOME)
            await SessionsLoop(node).once()
        first, second = collector.sightings
        assert (first.salt, first.rows) == (0, [])
        assert second.salt == collector.salt
        at_home, at_cafe = (sessions.hashed(fleet.KEY, one) for one in (HOME, CAFE))
        assert told(collector) == sorted([(1, at_home), (1, at_cafe), (2, at_home)])

    asyncio.run(scenario())


def test_nobody_connected_is_no_message(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            loop = SessionsLoop(node)
            for _ in range(3):
                await loop.once()
            driver.crash()
            await loop.once()
        assert [message.rows for message in collector.sightings] == [[]]

    asyncio.run(scenario())


def test_a_salt_that_has_changed_is_taken_and_everybody_told_again_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            await SyncLoop(node).compare_once()
            driver.connect(ALICE, HOME)
            loop = SessionsLoop(node)
            await loop.once()
            collector.salt = 2
            await loop.once()
        assert [(message.salt, len(message.rows)) for message in collector.sightings[-2:]] == [(1, 1), (2, 1)]

    asyncio.run(scenario())


def test_a_collector_that_never_takes_its_own_salt_is_not_asked_in_a_circle(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            await SyncLoop(node).compare_once()
            driver.connect(ALICE, HOME)
            loop = SessionsLoop(node)
            await loop.once()
            collector.salt = -1
            pause_s = await loop.once()
        assert pause_s > 0
        assert len(collector.sightings) <= 6

    asyncio.run(scenario())


def test_a_salt_whose_day_is_over_is_forgotten_before_anything_is_hashed_with_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        collector.salt_for_s = 0.0
        async with fleet.node(tmp_path, collector, driver) as node:
            await SyncLoop(node).compare_once()
            driver.connect(ALICE, HOME)
            loop = SessionsLoop(node)
            await loop.once()
            collector.salt = 2
            await loop.once()
        assert [(message.salt, len(message.rows)) for message in collector.sightings[-2:]] == [(0, 0), (2, 1)]

    asyncio.run(scenario())


def test_a_long_list_comes_in_parts_and_a_flood_of_one_user_is_cut_short(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = fleet.Collector(), MemoryDriver()
        users = range(1, 42)
        collector.want(fleet.endpoint(), *(fleet.account(user) for user in users))
        async with fleet.node(tmp_path, collector, driver) as node:
            await SyncLoop(node).compare_once()
            homes = [ipaddress.ip_address(0xC6330000 + number) for number in range(60)]
            for user in users:
                driver.connect(Meter(UserId(user), EndpointId(1)), *homes)
            flood = [ipaddress.ip_address(0xC6400000 + number) for number in range(1_000)]
            driver.connect(ALICE, *flood)
            await SessionsLoop(node).once()
        parts = [message.rows for message in collector.sightings[1:]]
        assert [len(part) for part in parts] == [MAX_SIGHTINGS, 40 * 60 + MAX_USER_SIGHTINGS - MAX_SIGHTINGS]
        rows = [row for part in parts for row in part]
        assert sum(row.user == 1 for row in rows) == MAX_USER_SIGHTINGS

    asyncio.run(scenario())


def test_a_place_is_told_and_looked_up_once_while_the_client_stays(tmp_path: Path) -> None:
    looked: list[sessions.Address] = []

    def place_of(address: sessions.Address) -> Found | None:
        looked.append(address)
        return Found("DE", "Berlin", None) if address == HOME else None

    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            await SyncLoop(node).compare_once()
            driver.connect(ALICE, HOME, CAFE)
            loop = SessionsLoop(node, place_of)
            for _ in range(3):
                await loop.once()
        places = {row.address: row.place for row in collector.sightings[-1].rows}
        assert places[sessions.hashed(fleet.KEY, HOME)] == Place("DE", "Berlin", None)
        assert places[sessions.hashed(fleet.KEY, CAFE)] is None

    asyncio.run(scenario())
    assert sorted(looked, key=str) == [HOME, CAFE]


def test_a_file_of_places_that_fails_over_an_address_loses_neither_him_nor_the_address(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def place_of(address: sessions.Address) -> Found | None:
        raise ValueError(f"{address} is not in this database")

    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            await SyncLoop(node).compare_once()
            driver.connect(ALICE, HOME)
            await SessionsLoop(node, place_of).once()
        assert len(collector.sightings[-1].rows) == 1

    with caplog.at_level(logging.DEBUG):
        asyncio.run(scenario())
    assert str(HOME) not in caplog.text


def test_nothing_that_the_loop_sends_or_keeps_holds_an_address(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            await SyncLoop(node).compare_once()
            driver.connect(ALICE, HOME, CAFE)
            loop = SessionsLoop(node)
            await loop.once()
            kept = repr(vars(loop)) + repr(node)
        sent = b"".join(msgspec.json.encode(message) for message in collector.sightings)
        for address in (HOME, CAFE):
            for spelling in (str(address), address.exploded, address.packed.hex(), str(int(address))):
                assert spelling.encode() not in sent
                assert spelling not in kept.replace(repr(driver), "")

    asyncio.run(scenario())


def test_while_the_collector_is_away_the_loop_only_fails_expectedly(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            await SyncLoop(node).compare_once()
            driver.connect(ALICE, HOME)
            collector.away = True
            with pytest.raises(LinkError) as failed:
                await SessionsLoop(node).once()
            assert str(HOME) not in str(failed.value)
            collector.away = False
            await SessionsLoop(node).once()
        assert len(collector.sightings[-1].rows) == 1

    asyncio.run(scenario())
