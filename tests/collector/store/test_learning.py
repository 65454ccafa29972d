"""Whom nodes that were asked may hold something of, on both engines."""

from collections.abc import Iterator

import pytest

from collector.store import learning, nodes
from collector.store.session import Session
from shared.names import ManagerId, NodeId, UserId
from tests.collector.app.fleet import NOW_MS, Fleet, opened
from tests.collector.app.resellers import Resellers
from tests.kit.stores import Store


@pytest.fixture
def fleet(store: Store) -> Iterator[Fleet]:
    with opened(store) as made:
        made.db.write_now(nodes.enrolled, made.node.id, "client", b"hash", NOW_MS)
        yield made


def _ask(session: Session, node: NodeId | None) -> None:
    learning.ask(session, node, NOW_MS)


@pytest.mark.parametrize("only", [True, False])
def test_whoever_is_placed_on_a_node_that_was_asked_waits_for_it_and_so_do_those_who_share_his_limit(
    fleet: Fleet,
    only: bool,
) -> None:
    reseller = Resellers(fleet).made("reseller", quota_bytes=10**9)
    placed = fleet.user(manager=reseller.id)
    sharer, stranger = UserId(placed.id + 1), UserId(placed.id + 2)
    fleet.db.write_now(_ask, fleet.node.id if only else None)
    sharing = {placed.id: set[ManagerId](), sharer: {reseller.id}, stranger: set[ManagerId]()}
    assert fleet.db.read_now(learning.waiting, sharing, NOW_MS - 1) == {placed.id, sharer}
    assert not fleet.db.read_now(learning.waiting, sharing, NOW_MS)
