"""Figures that no honest node tells: whatever one says, reports go on, its own and those of others."""

from collections.abc import Iterator

import msgspec
import pytest

from collector.app import endpoints, nodes, quarantine, usage, users
from collector.domain.endpoints import EndpointChanges, NewEndpoint
from collector.fronts.rest import usage as front
from collector.store import nodes as stored
from shared.messages import Lease, Report, ReportAnswer
from shared.names import MAX_BYTES
from tests.collector.app import fleet as made
from tests.collector.app.fleet import ADMIN, LEDGER, NOW_MS, Fleet
from tests.collector.app.resellers import Resellers
from tests.kit.stores import Store

GB = 10**9
LATER_MS = NOW_MS + 60_000


@pytest.fixture
def enrolled(store: Store) -> Iterator[Fleet]:
    # Not the usual one: a question to a node is no event.
    with made.opened(store) as fleet:
        fleet.db.write_now(stored.enrolled, fleet.node.id, "client", b"", NOW_MS)
        yield fleet


def _send(fleet: Fleet, sequence: int, **said: object) -> ReportAnswer:
    report = msgspec.convert({"ledger": LEDGER, "rows": [], "epoch": 1, "sequence": sequence, **said}, Report)
    received = front.decode(msgspec.json.encode(report))
    return fleet.db.write_now(usage.ingest, fleet.node.id, received, LATER_MS).value


def test_a_serial_that_a_node_makes_up_ends_no_lending(enrolled: Fleet) -> None:
    user = enrolled.user(quota_bytes=GB).id
    question = _send(enrolled, 1, serial=MAX_BYTES).learning
    assert question
    _send(enrolled, 2, serial=MAX_BYTES, learning=question)
    (lease,) = _send(enrolled, 3, serial=MAX_BYTES, unleased=[user]).leases
    assert lease.total == GB * 60 // 100


def test_a_node_that_claims_everything_can_be_given_up_for_lost(enrolled: Fleet) -> None:
    resellers = Resellers(enrolled)
    manager = resellers.made("ada", quota_bytes=1000 * GB)
    dear = EndpointChanges(factor_permille=2_000)
    enrolled.db.write_now(endpoints.change, enrolled.endpoint.id, dear, b"", ADMIN, NOW_MS)
    claimed = [
        Lease(enrolled.user(number, manager=manager.id).id, 1, 0, MAX_BYTES, MAX_BYTES, MAX_BYTES)
        for number in range(1, 4)
    ]
    question = _send(enrolled, 1, serial=1).learning
    assert not _send(enrolled, 2, learning=question, held=claimed).learning
    assert resellers.seen(manager).manager.held.total > 1000 * GB
    enrolled.db.write_now(nodes.revoke, enrolled.node.id, ADMIN, LATER_MS)
    assert not any(resellers.seen(manager).manager.held)


def test_totals_that_fit_no_sum_are_lent_nothing_more_and_spoil_no_report(fleet: Fleet) -> None:
    new = NewEndpoint(name="second", protocol="vless", port=444)
    second = fleet.db.write_now(endpoints.create, fleet.node.id, new, ADMIN, NOW_MS).value.id
    user, other = fleet.user(quota_bytes=GB).id, fleet.user(2, quota_bytes=GB)
    fleet.db.write_now(users.assign, user, [fleet.endpoint.id, second], ADMIN, NOW_MS)
    fleet.report((user, fleet.endpoint.id, MAX_BYTES - 9, 0), (user, second, MAX_BYTES - 9, 0))
    for held in fleet.db.read_now(quarantine.every):
        fleet.db.write_now(quarantine.dismiss, held.id, ADMIN, NOW_MS)
    rows = [(user, fleet.endpoint.id, MAX_BYTES - 1, 0), (other.id, fleet.endpoint.id, 5, 0)]
    answer = fleet.report(*rows, order=(1, 1)).value
    assert fleet.used(other) == (5, 0)
    assert [lease.total for lease in answer.leases if lease.user == user] == [MAX_BYTES]
