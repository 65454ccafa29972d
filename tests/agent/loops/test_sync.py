"""The desired state reaches the core once, in order, and each item is answered for."""

import asyncio
import logging
from pathlib import Path

import pytest

from agent.core.counting import Meter
from agent.core.served import Served
from agent.drivers.memory import MemoryDriver
from agent.link import LinkError
from agent.loops.sync import SyncLoop
from shared.names import EndpointId, UserId
from tests.agent import fleet

ALICE, BOB = Meter(UserId(1), EndpointId(1)), Meter(UserId(2), EndpointId(1))


def staffed() -> fleet.Collector:
    collector = fleet.Collector()
    collector.want(fleet.endpoint(), fleet.account(1), fleet.account(2))
    return collector


def test_a_state_is_applied_and_every_item_is_acknowledged(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            await SyncLoop(node).once()
            assert driver.traffic(ALICE, 1)
            assert driver.traffic(BOB, 1)
        assert {o.key for o in collector.outcomes.values() if o.error is None} == set(collector.items)

    asyncio.run(scenario())


def test_users_come_and_go_without_a_restart_and_in_the_order_block_read_cut(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            sync = SyncLoop(node)
            await sync.once()
            driver.traffic(ALICE, 9)
            collector.want(fleet.account(3))
            collector.drop("account/1/1")
            driver.calls.clear()
            await sync.once()
            assert driver.calls == ["block", "read", "cut", "add"]
            assert ALICE not in driver.connections
            assert node.ledger.total(ALICE) == (9, 0)
            assert driver.traffic(Meter(UserId(3), EndpointId(1)), 1)
        assert collector.outcomes["account/1/1"].generation == 3

    asyncio.run(scenario())


def test_an_outcome_that_could_not_be_told_is_told_later(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            sync = SyncLoop(node)
            await sync.once()
            collector.want(fleet.account(3))
            state = await node.link.configs(node.holding.generation, 0)
            collector.away = True
            assert await sync.take(state)
            with pytest.raises(LinkError):
                await sync.acknowledge()
            collector.away = False
            assert "account/3/1" not in collector.outcomes
            await sync.compare_once()
            assert collector.outcomes["account/3/1"].error is None

    asyncio.run(scenario())


def test_the_full_compare_repairs_what_somebody_else_changed_at_the_core(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            sync = SyncLoop(node)
            await sync.once()
            stranger = Meter(UserId(66), EndpointId(1))
            served = await driver.served()
            driver.foreign_change(
                Served(served.endpoints, {ALICE: served.accounts[ALICE], stranger: fleet.account(66)})
            )
            await sync.compare_once()
            assert driver.traffic(BOB, 1)
            assert not driver.traffic(stranger, 1)

    asyncio.run(scenario())
    assert "core_drifted" in [record.message for record in caplog.records]


def test_endpoints_that_drift_in_spite_of_a_repair_are_not_replaced_for_ever(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            sync = SyncLoop(node)
            await sync.once()
            for _ in range(4):
                served = await driver.served()
                driver.foreign_change(Served({EndpointId(1): fleet.endpoint(port=1)}, served.accounts))
                await sync.compare_once()
            assert driver.calls.count("place") == 2

    asyncio.run(scenario())


def test_a_collector_that_went_back_is_asked_for_everything_and_followed(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            sync = SyncLoop(node)
            for port in (1, 2, 3):
                collector.want(fleet.endpoint(port=port))
            await sync.once()
            collector.generation, collector.items = 0, {}
            collector.want(fleet.endpoint(port=9), fleet.account(1))
            await sync.once()
            await sync.once()
            assert node.holding.generation == 1
            assert not driver.traffic(BOB, 1)
            assert driver.traffic(ALICE, 1)

    asyncio.run(scenario())


def test_other_content_under_the_same_generation_is_settled_by_a_full_state(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            sync = SyncLoop(node)
            await sync.once()
            collector.items.pop("account/2/1")
            await sync.compare_once()
            assert not driver.traffic(BOB, 1)

    asyncio.run(scenario())
    assert "state_diverged" in [record.message for record in caplog.records]


def test_a_state_applied_is_logged_with_its_generation(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            await SyncLoop(node).once()

    with caplog.at_level(logging.INFO):
        asyncio.run(scenario())
    [applied] = [record for record in caplog.records if record.message == "state_applied"]
    assert vars(applied)["fields"]["generation"] == 1


def test_after_an_outage_an_equal_generation_of_a_restored_collector_is_not_believed(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            sync = SyncLoop(node)
            await sync.once()
            backup, generation = dict(collector.items), collector.generation
            collector.want(fleet.account(3, uuid="lost"))
            await sync.once()
            collector.away = True
            with pytest.raises(LinkError):
                await sync.once()
            collector.away, collector.items, collector.generation = False, backup, generation
            collector.want(fleet.account(3, uuid="new"))
            await sync.once()
            assert (await driver.served()).accounts[Meter(UserId(3), EndpointId(1))].uuid == "new3"

    asyncio.run(scenario())
