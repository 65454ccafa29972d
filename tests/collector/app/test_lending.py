"""Leases in the answers to reports."""

from collector.app import configs, endpoints, nodes, usage, users
from collector.domain.endpoints import Endpoint, NewEndpoint
from collector.domain.nodes import NewNode
from collector.domain.reports import Received
from collector.domain.users import User, UserChanges
from shared.messages import Lease, Usage
from shared.names import LedgerId, NodeId, UserId
from tests.collector.app.fleet import ADMIN, LEDGER, NOW_MS, Fleet

GB = 10**9
LATER_MS = NOW_MS + 60_000


def _send(
    fleet: Fleet,
    *,
    sequence: int,
    down: int | None = None,
    unleased: tuple[UserId, ...] = (),
    returned: tuple[Lease, ...] = (),
    node: NodeId | None = None,
    ledger: LedgerId = LEDGER,
) -> list[Lease]:
    rows = [] if down is None else [(0, Usage(UserId(1), fleet.endpoint.id, 0, down))]
    report = Received(
        ledger=ledger, rows=rows, undecodable=[], order=(1, sequence), returned=returned, unleased=unleased
    )
    return fleet.db.write_now(usage.ingest, node or fleet.node.id, report, LATER_MS).value.leases


def _second_node(fleet: Fleet, user: User) -> Endpoint:
    """Another node, and the user on both."""
    node = fleet.db.write_now(nodes.create, NewNode(name="node-2"), ADMIN, NOW_MS).value
    new = NewEndpoint(name="main", protocol="vless", port=443)
    endpoint = fleet.db.write_now(endpoints.create, node.id, new, ADMIN, NOW_MS).value
    fleet.db.write_now(users.assign, user.id, [fleet.endpoint.id, endpoint.id], ADMIN, NOW_MS)
    return endpoint


def test_a_user_of_two_nodes_gets_a_starter_when_a_node_asks(fleet: Fleet) -> None:
    user = fleet.user(quota_bytes=GB)
    _second_node(fleet, user)
    (lease,) = _send(fleet, sequence=1, unleased=(user.id,))
    assert (lease.user, lease.terms, lease.up, lease.down) == (user.id, user.terms, None, None)
    assert lease.total == lease.spare == 8 * 2**20


def test_a_user_of_one_node_gets_his_share_at_once(fleet: Fleet) -> None:
    user = fleet.user(quota_bytes=GB)
    (lease,) = _send(fleet, sequence=1, unleased=(user.id,))
    assert lease.total == GB * 60 // 100


def test_an_unlimited_user_gets_no_lease(fleet: Fleet) -> None:
    user = fleet.user()
    assert _send(fleet, sequence=1, down=5, unleased=(user.id,)) == []


def test_traffic_turns_the_starter_into_a_share_of_what_is_free(fleet: Fleet) -> None:
    fleet.user(quota_bytes=GB)
    (lease,) = _send(fleet, sequence=1, down=1_000_000)
    assert lease.total is not None
    assert GB // 2 < lease.total < GB


def test_two_nodes_never_hold_more_than_the_limit_together(fleet: Fleet) -> None:
    user = fleet.user(quota_bytes=GB)
    there = _second_node(fleet, user)
    moved = held = there_held = 0
    for step in range(1, 300):
        moved = min(held, moved + 4_000_000)
        asked = _send(fleet, sequence=step, unleased=(user.id,), node=there.node, ledger=LedgerId("ledger-b"))
        first = _send(fleet, sequence=step, down=moved)
        held = first[0].total or 0 if first else held
        there_held = asked[0].total or 0 if asked else there_held
        assert held + there_held <= GB
    assert moved > GB * 95 // 100


def test_the_end_of_a_quota_is_recalled_from_the_node_where_it_lies_idle(fleet: Fleet) -> None:
    user = fleet.user(quota_bytes=100_000_000)
    there = _second_node(fleet, user)
    far = LedgerId("ledger-b")
    (idle,) = _send(fleet, sequence=1, unleased=(user.id,), node=there.node, ledger=far)
    assert idle.total
    row = (0, Usage(user.id, fleet.endpoint.id, 0, 80_000_000))
    report = Received(ledger=LEDGER, rows=[row], undecodable=[], order=(1, 1))
    change = fleet.db.write_now(usage.ingest, fleet.node.id, report, LATER_MS)
    assert there.node in change.nodes
    assert fleet.db.read_now(configs.difference, there.node, 0).recalled == [user.id]
    given_back = Lease(user.id, user.terms, 0, 0, None, None)
    _send(fleet, sequence=2, returned=(given_back,), node=there.node, ledger=far)
    assert fleet.db.read_now(configs.difference, there.node, 0).recalled == []
    (lease,) = _send(fleet, sequence=2, down=90_000_000)
    assert lease.total == 100_000_000


def test_a_node_is_lent_nothing_of_a_user_who_is_not_placed_on_it(fleet: Fleet) -> None:
    user = fleet.user(quota_bytes=GB)
    other = fleet.db.write_now(nodes.create, NewNode(name="node-2"), ADMIN, NOW_MS).value
    far = LedgerId("ledger-b")
    assert _send(fleet, sequence=1, unleased=(user.id,), node=other.id, ledger=far) == []
    assert _send(fleet, sequence=1, unleased=(user.id,)) != []


def test_an_old_report_frees_nothing(fleet: Fleet) -> None:
    user = fleet.user(quota_bytes=GB)
    (before,) = _send(fleet, sequence=5, down=1_000_000)
    nothing = Lease(user.id, user.terms, 0, 0, None, None)
    assert _send(fleet, sequence=4, returned=(nothing,)) == []
    there = _second_node(fleet, user)
    (elsewhere,) = _send(fleet, sequence=1, unleased=(user.id,), node=there.node, ledger=LedgerId("b"))
    assert (before.total or 0) + (elsewhere.total or 0) <= GB


def test_a_lower_quota_makes_new_terms_and_a_higher_one_does_not(fleet: Fleet) -> None:
    user = fleet.user(quota_bytes=GB)
    higher = fleet.db.write_now(users.change, user.id, UserChanges(quota_bytes=2 * GB), ADMIN, NOW_MS).value
    lower = fleet.db.write_now(users.change, user.id, UserChanges(quota_bytes=GB), ADMIN, NOW_MS).value
    assert (higher.terms, lower.terms) == (user.terms, user.terms + 1)


def test_a_revoked_node_holds_nothing_any_more(fleet: Fleet) -> None:
    user = fleet.user(quota_bytes=GB)
    (held,) = _send(fleet, sequence=1, down=1_000_000)
    there = _second_node(fleet, user)
    fleet.db.write_now(nodes.revoke, fleet.node.id, ADMIN, NOW_MS)
    fleet.db.write_now(users.assign, user.id, [there.id], ADMIN, NOW_MS)
    (lease,) = _send(fleet, sequence=1, unleased=(user.id,), node=there.node, ledger=LedgerId("b"))
    assert held.total
    assert lease.total is not None
    assert held.total + lease.total > GB


def test_separate_limits_are_leased_separately(fleet: Fleet) -> None:
    user = fleet.user()
    changes = UserChanges(up_limit_bytes=GB, down_limit_bytes=2 * GB)
    fleet.db.write_now(users.change, user.id, changes, ADMIN, NOW_MS)
    (lease,) = _send(fleet, sequence=1, down=1_000_000)
    assert lease.total is None
    assert lease.up is not None
    assert lease.down is not None
    assert lease.down > lease.up


def test_a_dearer_endpoint_bills_more_and_is_lent_fewer_raw_bytes(fleet: Fleet) -> None:
    fleet.user(quota_bytes=GB)
    (plain,) = _send(fleet, sequence=1, down=1_000_000)
    new = NewEndpoint(name="dear", protocol="vless", port=444, factor_permille=3_000)
    dear = fleet.db.write_now(endpoints.create, fleet.node.id, new, ADMIN, NOW_MS).value
    again = fleet.user(2, quota_bytes=GB)
    fleet.db.write_now(users.assign, again.id, [fleet.endpoint.id, dear.id], ADMIN, NOW_MS)
    row = (0, Usage(again.id, dear.id, 0, 1_000_000))
    report = Received(ledger=LEDGER, rows=[row], undecodable=[], order=(1, 2))
    (lent,) = fleet.db.write_now(usage.ingest, fleet.node.id, report, LATER_MS).value.leases
    assert fleet.used(again) == (0, 3_000_000)
    assert plain.total is not None
    assert lent.total is not None
    assert lent.total * 3 <= GB
    assert lent.total < plain.total // 2


def test_the_answer_tells_the_highest_epoch_so_that_a_restored_node_notices(fleet: Fleet) -> None:
    user = fleet.user()
    for epoch, seen in ((3, 3), (2, 3), (4, 4)):
        row = (0, Usage(user.id, fleet.endpoint.id, 0, 1))
        report = Received(ledger=LEDGER, rows=[row], undecodable=[], order=(epoch, 1))
        assert fleet.db.write_now(usage.ingest, fleet.node.id, report, LATER_MS).value.epoch_seen == seen
