"""Users whom the writer has forgotten take the fast lane again, where nothing speaks against it."""

from collections.abc import Iterator
from unittest import mock

import pytest

from collector.app import learning
from collector.domain import continuity, metering
from collector.domain.columns import NONE
from collector.store import ids
from shared.names import UserId
from tests.collector.app.fleet import LEDGER, NOW_MS, Fleet
from tests.kit import remembered

MB = 10**6
STEP_MS = 10_000


@pytest.fixture
def judged() -> Iterator[mock.Mock]:
    """How the careful way is asked."""
    with mock.patch.object(metering, "charge", wraps=metering.charge) as charge:
        yield charge


def _forget(fleet: Fleet) -> None:
    fleet.db.write_now(lambda session: session.hot.forget_all())


def _reported(fleet: Fleet, number: int, *, mb: int | None = None) -> list[int]:
    """Report the user's next total; returns who is stopped."""
    total = (number if mb is None else mb) * MB
    now_ms = NOW_MS + number * STEP_MS
    return list(fleet.report((1, 1, 0, total), now_ms=now_ms, order=(1, number)).value.stopped)


@pytest.mark.parametrize("limits", [{}, {"quota_bytes": 10**10}, {"down_limit_bytes": 10**10}])
def test_whoever_was_charged_before_needs_no_thought_after_a_start(
    fleet: Fleet, judged: mock.Mock, limits: dict[str, int]
) -> None:
    user = fleet.user(**limits)
    _reported(fleet, 1)
    _forget(fleet)
    judged.reset_mock()
    _reported(fleet, 2)
    assert not judged.called
    assert fleet.used(user) == (0, 2 * MB)
    fleet.db.write_now(remembered.rightly)


def test_a_user_with_the_number_of_a_restored_collector_needs_no_thought(
    fleet: Fleet, judged: mock.Mock
) -> None:
    fleet.db.write_now(ids.raise_floor, continuity.floor_after(0, NOW_MS) or 0)
    user = fleet.user(quota_bytes=10**10)
    for number in (1, 2):
        judged.reset_mock()
        total = number * MB
        fleet.report((user.id, 1, 0, total), now_ms=NOW_MS + number * STEP_MS, order=(1, number))
    assert user.id > 200_000_000
    assert not judged.called
    assert fleet.used(user) == (0, 2 * MB)


def test_a_limit_that_is_reached_after_a_start_stops_him(fleet: Fleet) -> None:
    fleet.user(quota_bytes=100 * MB)
    _reported(fleet, 1)
    _forget(fleet)
    assert _reported(fleet, 2, mb=100) == [1]


@pytest.mark.parametrize("change", [{"quota_bytes": 3 * MB}, {"active": False}])
def test_a_change_that_nobody_remembers_counts(fleet: Fleet, change: dict[str, int]) -> None:
    user = fleet.user(quota_bytes=10**10)
    _reported(fleet, 1)
    fleet.change(user, NOW_MS, **change)
    _forget(fleet)
    assert _reported(fleet, 4) == [1]


def test_a_period_that_ended_meanwhile_ends(fleet: Fleet, judged: mock.Mock) -> None:
    user = fleet.user(quota_bytes=10**10, duration_s=15)
    _reported(fleet, 1)
    _forget(fleet)
    judged.reset_mock()
    assert _reported(fleet, 3) == [1]
    assert judged.called
    assert fleet.used(user) == (0, 3 * MB)


def test_what_waits_for_a_decision_waits_after_a_start(fleet: Fleet) -> None:
    user = fleet.user()
    _reported(fleet, 1)
    assert fleet.report((1, 1, 0, 10**15), now_ms=NOW_MS + 2 * STEP_MS).value.quarantined
    for number in (3, 4):
        assert fleet.report((1, 1, 0, 2 * MB), now_ms=NOW_MS + number * STEP_MS).value.quarantined
        _forget(fleet)
    assert fleet.used(user) == (0, MB)


def test_a_node_that_is_asked_what_it_holds_gets_no_room_of_the_limited(
    fleet: Fleet, judged: mock.Mock
) -> None:
    fleet.user(quota_bytes=10**10)
    _reported(fleet, 1)
    _forget(fleet)
    _reported(fleet, 2)
    assert judged.call_count == 1
    fleet.db.write_now(lambda session: session.run("UPDATE node SET enrolled_ms = ?", (NOW_MS,)))
    fleet.db.write_now(lambda session: learning.begin(session, 0, NOW_MS + 2 * STEP_MS))
    _forget(fleet)
    judged.reset_mock()
    _reported(fleet, 3)
    assert judged.called
    source = fleet.db.write_now(lambda session: session.hot.source(LEDGER))
    assert source is not None
    assert source.meters.quiet_of(UserId(1)) == NONE
