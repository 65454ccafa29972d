"""What was lent under other terms is not served under the new ones, whichever messages were lost."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from collector.app import users
from collector.domain.users import UserChanges
from shared.names import UserId
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
