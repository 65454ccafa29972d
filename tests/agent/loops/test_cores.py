"""A node with several cores: each lives, fails and changes without the others; endpoints come one by one."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from agent import ledger
from agent.core import plan
from agent.core.counting import Meter
from agent.core.served import Served
from agent.drivers.base import DriverError, PartlyServedError, RestartNeededError
from agent.drivers.memory import MemoryDriver
from agent.loops import serving
from agent.loops.heal import HealLoop
from agent.loops.meter import MeterLoop
from agent.loops.node import Core, Node
from agent.loops.sync import SyncLoop
from shared.messages import Account, Endpoint
from shared.names import EndpointId, UserId
from tests.agent import fleet

PROXIED, TUNNELLED = Meter(UserId(1), EndpointId(1)), Meter(UserId(1), EndpointId(2))
TUNNEL = Endpoint(endpoint=EndpointId(2), protocol="wireguard", port=51820)


class Tunnels(MemoryDriver):
    """The second core of a node."""

    name = "tunnels"
    protocols = frozenset({"wireguard"})

    def __init__(self) -> None:
        super().__init__()
        self.source = "tunnels"


class Fussy(MemoryDriver):
    """Takes no endpoint with some ports, although it says that it would, or only at a start."""

    def __init__(self, error: DriverError, port: int) -> None:
        super().__init__()
        self.error, self.port = error, port

    async def place(self, endpoint: Endpoint, accounts: Sequence[Account]) -> dict[Meter, str]:
        if endpoint.port == self.port:
            raise self.error
        return await super().place(endpoint, accounts)


def staffed() -> fleet.Collector:
    collector = fleet.Collector()
    collector.want(fleet.endpoint(), TUNNEL, fleet.account(1), fleet.account(1, on=2))
    return collector


async def booted(folder: Path, collector: fleet.Collector, *drivers: MemoryDriver) -> Node:
    book = ledger.open_ledger(folder / ledger.FILE_NAME)
    node = Node(
        cores=[Core(driver) for driver in drivers],
        ledger=book,
        link=fleet.linked(collector),
        pace=fleet.FAST,
        holding=book.held,
    )
    await serving.boot(node)
    return node


async def ended(node: Node) -> None:
    node.ledger.close()
    await node.link.close()


def test_each_core_serves_its_protocols_and_both_are_counted(tmp_path: Path) -> None:
    async def scenario() -> None:
        proxies, tunnels = MemoryDriver(), Tunnels()
        node = await booted(tmp_path, staffed(), proxies, tunnels)
        await SyncLoop(node).once()
        assert proxies.traffic(PROXIED, 3, 4)
        assert tunnels.traffic(TUNNELLED, 10)
        assert not proxies.traffic(TUNNELLED, 1)
        await MeterLoop(node).once()
        assert (node.ledger.total(PROXIED), node.ledger.total(TUNNELLED)) == ((3, 4), (10, 0))
        assert not node.failures
        await ended(node)

    asyncio.run(scenario())


def test_a_core_that_dies_takes_no_count_and_no_connection_of_the_other(tmp_path: Path) -> None:
    async def scenario() -> None:
        proxies, tunnels = MemoryDriver(), Tunnels()
        node = await booted(tmp_path, staffed(), proxies, tunnels)
        await SyncLoop(node).once()
        assert proxies.traffic(PROXIED, 5)
        assert tunnels.traffic(TUNNELLED, 7)
        await MeterLoop(node).once()
        tunnels.crash()
        assert proxies.traffic(PROXIED, 5)
        await MeterLoop(node).once()
        await HealLoop(node, node.cores[1], check_s=5).once()
        assert proxies.connections == {PROXIED: 1}
        assert tunnels.traffic(TUNNELLED, 2)
        await MeterLoop(node).once()
        assert (node.ledger.total(PROXIED), node.ledger.total(TUNNELLED)) == ((10, 0), (9, 0))
        assert proxies.calls.count("start") == 1
        await ended(node)

    asyncio.run(scenario())


def test_a_user_is_stopped_on_every_core_although_one_does_not_answer(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector = staffed()
        proxies, tunnels = MemoryDriver(), Tunnels()
        node = await booted(tmp_path, collector, proxies, tunnels)
        await SyncLoop(node).once()
        proxies.traffic(PROXIED, 5)
        tunnels.traffic(TUNNELLED, 7)
        proxies.fail("block", DriverError("the core did not answer within 10 s"))
        with pytest.raises(DriverError):
            await serving.enforce(node, [UserId(1)], node.holding.generation)
        assert tunnels.connections == {}
        await serving.settle(node)
        assert proxies.connections == {}
        await ended(node)

    asyncio.run(scenario())


def test_an_endpoint_of_a_protocol_that_no_core_serves_is_told_as_failed(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector = staffed()
        node = await booted(tmp_path, collector, MemoryDriver())
        await SyncLoop(node).once()
        assert "has no core for the protocol" in str(collector.outcomes["endpoint/2"].error)
        assert collector.outcomes["account/1/1"].error is None
        await ended(node)

    asyncio.run(scenario())


def test_an_endpoint_that_is_refused_in_the_end_gives_way_to_what_ran_before(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver = staffed(), Fussy(DriverError("address in use"), 8443)
        node = await booted(tmp_path, collector, driver, Tunnels())
        sync = SyncLoop(node)
        await sync.once()
        collector.want(fleet.endpoint(port=8443))
        await sync.once()
        assert collector.outcomes["endpoint/1"].error == "address in use"
        assert (await driver.served()).endpoints[EndpointId(1)].port == 443
        assert driver.traffic(PROXIED, 1)
        await ended(node)

    asyncio.run(scenario())


def test_what_only_a_new_start_can_change_restarts_that_core_after_a_last_reading(tmp_path: Path) -> None:
    async def scenario() -> None:
        collector, driver, tunnels = staffed(), Fussy(RestartNeededError("not over the API"), 8443), Tunnels()
        node = await booted(tmp_path, collector, driver, tunnels)
        sync = SyncLoop(node)
        await sync.once()
        tunnels.traffic(TUNNELLED, 1)
        collector.want(fleet.endpoint(port=8443))
        driver.calls.clear()
        await sync.once()
        assert driver.calls[-4:] == ["cut_all", "read", "start", "read"]
        assert driver.traffic(PROXIED, 1)
        assert tunnels.connections == {TUNNELLED: 1}
        await ended(node)

    asyncio.run(scenario())


def test_a_core_that_serves_all_but_one_endpoint_at_its_start_is_not_started_again(tmp_path: Path) -> None:
    class Partly(Tunnels):
        async def start(self, served: Served) -> None:
            bad = {key: "no such device" for key, one in served.endpoints.items() if one.port == 1}
            await super().start(plan.without_endpoints(served, bad))
            if bad:
                raise PartlyServedError(bad)

    async def scenario() -> None:
        collector, tunnels = staffed(), Partly()
        bad = Endpoint(endpoint=EndpointId(3), protocol="wireguard", port=1)
        collector.want(bad, fleet.account(2, on=3))
        node = await booted(tmp_path, collector, MemoryDriver(), tunnels)
        await SyncLoop(node).once()
        tunnels.crash()
        await HealLoop(node, node.cores[1], check_s=5).once()
        await SyncLoop(node).acknowledge()
        assert tunnels.traffic(TUNNELLED, 1)
        assert collector.outcomes["endpoint/3"].error == "no such device"
        assert "not served by this node" in str(collector.outcomes["account/2/3"].error)
        assert tunnels.calls.count("start") == 2
        await ended(node)

    asyncio.run(scenario())
