"""The clock as main runs it: every batch, then nothing; nodes are woken."""

import asyncio

import pytest

from collector.domain.users import Status
from collector.tasks import clock
from shared.names import NodeId
from tests.collector.app import fleet as made
from tests.collector.app.fleet import NOW_MS
from tests.kit.stores import Store


def test_a_run_advances_everybody_who_is_due_in_batches_and_a_second_run_nobody(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "BATCH", 2)
    woken: list[set[NodeId]] = []
    with made.opened(store) as fleet:
        users = [fleet.user(number, duration_s=60, start_at_ms=NOW_MS) for number in range(5)]
        for _ in range(2):
            asyncio.run(clock.run(fleet.db, lambda nodes: woken.append(set(nodes)), lambda: NOW_MS + 60_000))
        assert {fleet.seen(user).status for user in users} == {Status.EXPIRED}
        assert woken == [{fleet.node.id}] * 3 + [set()]
        assert [fleet.told(user) for user in users] == [["USER_EXPIRED"]] * 5
