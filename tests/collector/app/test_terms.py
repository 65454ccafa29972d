"""What was lent under other terms is not served under the new ones, whichever messages were lost."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from collector.app import endpoints, users
from collector.domain.endpoints import EndpointChanges, NewEndpoint
from collector.domain.users import UserChanges
from shared.names import EndpointId, UserId
from tests.collector.app import borrowers
from tests.collector.app.borrowers import Borrower
from tests.collector.app.fleet import ADMIN, NOW_MS, Fleet

GB = 10**9


@pytest.fixture
def node(fleet: Fleet, tmp_path: Path) -> Iterator[Borrower]:
    made = borrowers.borrower(fleet, tmp_path, "a")
    with closing(made.book):
        yield made


def _user(fleet: Fleet, node: Borrower) -> UserId:
    user = fleet.user(quota_bytes=10 * GB).id
    borrowers.place(fleet, user, node)
    return user


def _lost_report(fleet: Fleet, node: Borrower) -> None:
    borrowers.send(fleet, node.node, node.words()[1], NOW_MS)


def test_a_lease_whose_answer_was_lost_does_not_outlive_a_lower_quota(fleet: Fleet, node: Borrower) -> None:
    user = _user(fleet, node)
    _lost_report(fleet, node)
    changed = fleet.db.write_now(users.change, user, UserChanges(quota_bytes=GB), ADMIN, NOW_MS).value
    node.terms = changed.terms
    node.serves(user)
    node.report(fleet, NOW_MS)
    assert 0 < node.ceiling(user) <= GB


def test_a_lease_whose_answer_was_lost_is_given_again(fleet: Fleet, node: Borrower) -> None:
    user = _user(fleet, node)
    for _ in range(3):
        _lost_report(fleet, node)
    node.report(fleet, NOW_MS)
    assert GB < node.ceiling(user) <= 10 * GB


@pytest.mark.parametrize("moved_by_way_of", [(), ("nowhere",)])
def test_a_lease_is_not_used_up_where_bytes_cost_more(
    fleet: Fleet, node: Borrower, moved_by_way_of: tuple[str, ...]
) -> None:
    user = _user(fleet, node)
    node.report(fleet, NOW_MS)
    assert node.ceiling(user) > GB
    dear = _dear(fleet, node)
    for _ in moved_by_way_of:
        fleet.db.write_now(users.assign, user, [], ADMIN, NOW_MS)
    node.terms = fleet.db.write_now(users.assign, user, [dear], ADMIN, NOW_MS).value.terms
    node.serves(user)
    node.report(fleet, NOW_MS)
    assert 0 < node.ceiling(user) * 100 <= 10 * GB


def test_whoever_is_put_on_a_dearer_node_keeps_what_others_were_lent(fleet: Fleet, node: Borrower) -> None:
    user = _user(fleet, node)
    node.report(fleet, NOW_MS)
    dear = EndpointChanges(factor_permille=2_000)
    fleet.db.write_now(endpoints.change, fleet.endpoint.id, dear, b"", ADMIN, NOW_MS)
    after = fleet.db.write_now(users.assign, user, [node.endpoint, fleet.endpoint.id], ADMIN, NOW_MS).value
    assert after.terms == node.terms


def _dear(fleet: Fleet, node: Borrower) -> EndpointId:
    new = NewEndpoint(name="dear", protocol="vless", port=444, factor_permille=100_000)
    return fleet.db.write_now(endpoints.create, node.node, new, ADMIN, NOW_MS).value.id
