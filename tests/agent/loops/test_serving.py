"""What the core serves changes in one order only, and one bad item harms no other."""

import asyncio
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest

from agent import ledger
from agent.core.counting import Meter
from agent.core.served import Served
from agent.drivers.base import DriverError
from agent.drivers.memory import MemoryDriver
from agent.loops import serving
from agent.loops.meter import MeterLoop
from agent.loops.sync import SyncLoop
from shared.messages import Account, Endpoint
from shared.names import EndpointId, UserId
from tests.agent import fleet

ALICE, BOB = Meter(UserId(1), EndpointId(1)), Meter(UserId(2), EndpointId(1))


class Picky(MemoryDriver):
    """Will not start with some ports, nor take some credentials, in the configuration or later."""

    def __init__(self, ports: set[int], uuids: set[str]) -> None:
        super().__init__()
        self.ports, self.uuids = ports, uuids

    async def start(self, served: Served) -> None:
        for endpoint in served.endpoints.values():
            if endpoint.port in self.ports:
                self.calls.append("start")
                raise DriverError(f"port {endpoint.port} is taken")
        if any(account.uuid in self.uuids for account in served.accounts.values()):
            self.calls.append("start")
            raise DriverError("invalid configuration")
        await super().start(served)

    async def check(self, endpoint: Endpoint) -> None:
        await super().check(endpoint)
        if endpoint.port in self.ports:
            raise DriverError(f"port {endpoint.port} is taken")

    async def add(self, accounts: Sequence[Account]) -> dict[Meter, str]:
        bad = {Meter(a.user, a.endpoint): "not a UUID" for a in accounts if a.uuid in self.uuids}
        return bad | await super().add([a for a in accounts if Meter(a.user, a.endpoint) not in bad])


def staffed() -> fleet.Collector:
    collector = fleet.Collector()
    collector.want(fleet.endpoint(), fleet.account(1), fleet.account(2))
    return collector


def test_a_changed_credential_ends_the_old_connections(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            sync = SyncLoop(node)
            await sync.once()
            driver.traffic(ALICE, 1)
            collector.want(fleet.account(1, uuid="new"))
            await sync.once()
            assert ALICE not in driver.connections
            assert (await driver.served()).accounts[ALICE].uuid == "new1"

    asyncio.run(scenario())


def test_a_changed_endpoint_is_read_and_replaced_and_nothing_else_is_touched(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            sync = SyncLoop(node)
            await sync.once()
            driver.traffic(ALICE, 9)
            collector.want(fleet.endpoint(port=8443))
            driver.calls.clear()
            await sync.once()
            assert driver.calls == ["check", "block", "read", "cut", "withdraw", "place", "add", "read"]
            assert node.ledger.total(ALICE) == (9, 0)
            driver.traffic(ALICE, 1)
            await MeterLoop(node).once()
            assert node.ledger.total(ALICE) == (10, 0)

    asyncio.run(scenario())


def test_a_bad_endpoint_is_rolled_back_and_named_while_the_others_are_served(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), Picky({80}, set())
        async with fleet.node(tmp_path, collector, driver) as node:
            sync = SyncLoop(node)
            await sync.once()
            collector.want(fleet.endpoint(port=80), fleet.endpoint(2, 8443), fleet.account(1, on=2))
            await sync.once()
            assert {e.port for e in (await driver.served()).endpoints.values()} == {443, 8443}
            assert driver.traffic(ALICE, 1)
            assert driver.traffic(Meter(UserId(1), EndpointId(2)), 1)
            assert collector.outcomes["endpoint/1"].error == "port 80 is taken"
            assert collector.outcomes["endpoint/2"].error is None
            assert collector.outcomes["account/1/2"].error is None
            starts = driver.calls.count("start")
            collector.want(fleet.account(3))
            await sync.once()
            assert driver.calls.count("start") == starts
            collector.want(fleet.endpoint(port=81))
            await sync.once()
            assert collector.outcomes["endpoint/1"].error is None
            assert {e.port for e in (await driver.served()).endpoints.values()} == {81, 8443}

    asyncio.run(scenario())


def test_a_node_that_starts_with_a_bad_endpoint_and_a_bad_account_serves_the_rest(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), Picky({80}, {"bad3"})
        collector.want(fleet.endpoint(2, 80), fleet.account(2, on=2), fleet.account(3, uuid="bad"))
        async with fleet.node(tmp_path, collector, driver) as node:
            await SyncLoop(node).once()
            assert driver.traffic(ALICE, 1)
            assert driver.traffic(BOB, 1)
        errors = {key: outcome.error for key, outcome in collector.outcomes.items() if outcome.error}
        assert errors == {
            "endpoint/2": "port 80 is taken",
            "account/2/2": "endpoint 2 is not served by this node",
            "account/3/1": "not a UUID",
        }

    asyncio.run(scenario())


def test_an_item_that_works_at_last_is_acknowledged_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), Picky(set(), {"u3"})
        async with fleet.node(tmp_path, collector, driver) as node:
            sync = SyncLoop(node)
            await sync.once()
            collector.want(fleet.account(3))
            await sync.once()
            assert collector.outcomes["account/3/1"].error == "not a UUID"
            driver.uuids = set()
            collector.want(fleet.account(4))
            await sync.once()
            assert collector.outcomes["account/3/1"].error is None

    asyncio.run(scenario())


def test_the_last_good_state_is_served_while_the_collector_is_away(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            await SyncLoop(node).once()
        driver.crash()
        collector.away = True
        async with fleet.node(tmp_path, collector, driver):
            assert driver.traffic(ALICE, 1)

    asyncio.run(scenario())


def test_an_adopted_core_is_compared_with_the_last_good_state(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            await SyncLoop(node).once()
        served = await driver.served()
        driver.foreign_change(Served(served.endpoints, {BOB: served.accounts[BOB]}))
        starts = driver.calls.count("start")
        async with fleet.node(tmp_path, collector, driver):
            assert driver.traffic(ALICE, 1)
        assert driver.calls.count("start") == starts

    asyncio.run(scenario())


def test_an_endpoint_is_not_closed_while_the_ledger_cannot_be_written(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            sync = SyncLoop(node)
            await sync.once()
            driver.traffic(ALICE, 5)
            connection = sqlite3.connect(tmp_path / ledger.FILE_NAME, isolation_level=None)
            node.ledger = ledger.Ledger(connection, tmp_path / ledger.FILE_NAME)
            connection.execute("PRAGMA query_only = ON")
            collector.want(fleet.endpoint(port=8443))
            with pytest.raises(ledger.LedgerError):
                await sync.once()
            assert driver.connections == {ALICE: 1}
            connection.execute("PRAGMA query_only = OFF")
            collector.want(fleet.account(3))
            await sync.once()
            assert node.ledger.total(ALICE) == (5, 0)
            assert (await driver.served()).endpoints[EndpointId(1)].port == 8443
            assert node.ledger.held == node.holding
            connection.close()

    asyncio.run(scenario())


def test_a_user_whose_addition_broke_off_can_be_cut_all_the_same(tmp_path: Path) -> None:
    class Breaking(MemoryDriver):
        async def add(self, accounts: Sequence[Account]) -> dict[Meter, str]:
            await super().add(accounts)
            raise DriverError("the answer was lost")

    async def scenario() -> None:
        collector, driver = fleet.Collector(), Breaking()
        collector.want(fleet.endpoint())
        async with fleet.node(tmp_path, collector, driver) as node:
            sync = SyncLoop(node)
            await sync.once()
            collector.want(fleet.account(1))
            with pytest.raises(DriverError):
                await sync.once()
            assert driver.traffic(ALICE, 1)
            await serving.enforce(node, {ALICE.user: 0.0}, node.holding.generation)
            assert not driver.traffic(ALICE, 1)

    asyncio.run(scenario())


def test_a_cut_waits_for_one_step_of_a_long_addition_only(tmp_path: Path) -> None:
    class Slow(MemoryDriver):
        async def add(self, accounts: Sequence[Account]) -> dict[Meter, str]:
            began.set()
            refused = await super().add(accounts)
            await asyncio.sleep(0)
            return refused

    began = asyncio.Event()

    async def scenario() -> None:
        collector, driver = staffed(), Slow()
        many = serving.JOIN_STEP * 5
        async with fleet.node(tmp_path, collector, driver) as node:
            sync = SyncLoop(node)
            await sync.once()
            collector.want(*(fleet.account(user) for user in range(10, 10 + many)))
            driver.calls.clear()
            began.clear()
            async with asyncio.TaskGroup() as group:
                group.create_task(sync.once())
                await began.wait()
                await serving.enforce(node, {ALICE.user: 0.0}, node.holding.generation)
            changes = [call for call in driver.calls if call in {"add", "block"}]
            assert changes.index("block") < 3
            assert changes.count("add") == 5
            assert len((await driver.served()).accounts) == many + 1

    asyncio.run(scenario())


def test_an_endpoint_whose_port_is_taken_disturbs_nobody_and_is_served_once_the_port_is_free(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            sync = SyncLoop(node)
            await sync.once()
            driver.traffic(ALICE, 1)
            driver.taken_ports = {80}
            driver.calls.clear()
            collector.want(fleet.endpoint(2, 80))
            await sync.once()
            assert ALICE in driver.connections
            assert not {"cut_all", "stop", "start"} & set(driver.calls)
            assert collector.outcomes["endpoint/2"].error == "port 80 is taken"
            await sync.retry_once()
            assert ALICE in driver.connections
            driver.taken_ports = set()
            await sync.retry_once()
            assert collector.outcomes["endpoint/2"].error is None
            assert {e.port for e in (await driver.served()).endpoints.values()} == {443, 80}

    asyncio.run(scenario())


def test_a_core_that_ended_while_no_agent_was_there_is_an_incident(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver):
            pass
        driver.crash()
        async with fleet.node(tmp_path, collector, driver) as node:
            assert [one.kind for one in node.ledger.incidents()] == ["core_lost"]

    asyncio.run(scenario())


def test_a_core_that_another_ledger_has_counted_is_ended(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver):
            counted = (await driver.read())[0].generation
        driver.calls.clear()
        (tmp_path / "anew").mkdir()
        async with fleet.node(tmp_path / "anew", collector, driver):
            assert driver.calls.index("stop") < driver.calls.index("start")
            assert (await driver.read())[0].generation != counted

    asyncio.run(scenario())


def test_a_core_that_was_ended_in_order_is_none(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), MemoryDriver()
        async with fleet.node(tmp_path, collector, driver) as node:
            assert await serving.finish(node)
        async with fleet.node(tmp_path, collector, driver) as node:
            assert not node.ledger.incidents()

    asyncio.run(scenario())
