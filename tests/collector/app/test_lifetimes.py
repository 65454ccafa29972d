"""Starts and ends: who is served from when, until when."""

from collector.app import usage
from collector.domain.reports import Received
from collector.domain.users import Status
from tests.collector.app.fleet import LEDGER, NOW_MS, Fleet
from tests.collector.app.test_periods import accounts, report

MINUTE_MS = 60_000
START_MS = NOW_MS + 10 * MINUTE_MS


def test_a_duration_without_a_start_begins_with_the_first_use(fleet: Fleet) -> None:
    user = fleet.user(duration_s=60)
    assert fleet.tick(NOW_MS + 100 * MINUTE_MS).value == 0
    used_ms = NOW_MS + 200 * MINUTE_MS
    report(fleet, user, 5, used_ms)
    assert fleet.tick(used_ms + MINUTE_MS - 1).value == 0
    assert fleet.seen(user).served
    assert fleet.tick(used_ms + MINUTE_MS).nodes == {fleet.node.id}
    assert fleet.seen(user).standing == (Status.EXPIRED, None)
    assert not accounts(fleet)
    assert fleet.told(user) == ["USER_EXPIRED"]


def test_who_has_expired_is_named_in_the_next_answer_also_before_the_clock_came(fleet: Fleet) -> None:
    user = fleet.user(duration_s=60, start_at_ms=NOW_MS)
    assert report(fleet, user, 5, NOW_MS + MINUTE_MS - 1) == []
    assert report(fleet, user, 9, NOW_MS + MINUTE_MS) == [user.id]
    assert report(fleet, user, 9, NOW_MS + 2 * MINUTE_MS) == [user.id]
    assert fleet.used(user) == (0, 9)
    assert fleet.told(user) == ["USER_EXPIRED"]


def test_a_longer_duration_brings_the_expired_back_and_none_has_no_end(fleet: Fleet) -> None:
    user = fleet.user(duration_s=60, start_at_ms=NOW_MS)
    fleet.tick(NOW_MS + MINUTE_MS)
    longer = fleet.change(user, NOW_MS + 2 * MINUTE_MS, duration_s=180)
    assert (longer.status, longer.due_ms) == (Status.ACTIVE, NOW_MS + 3 * MINUTE_MS)
    assert accounts(fleet)
    fleet.tick(NOW_MS + 3 * MINUTE_MS)
    assert fleet.change(user, NOW_MS + 4 * MINUTE_MS, duration_s=None).status is Status.ACTIVE


def test_before_a_fixed_start_nobody_is_served_and_at_it_he_is(fleet: Fleet) -> None:
    user = fleet.user(start_at_ms=START_MS, duration_s=60)
    assert user.standing == (Status.INACTIVE, "not started")
    assert not accounts(fleet)
    assert fleet.tick(START_MS - 1).value == 0
    assert fleet.tick(START_MS).nodes == {fleet.node.id}
    assert accounts(fleet)
    assert fleet.told(user) == ["USER_ACTIVE"]
    fleet.tick(START_MS + MINUTE_MS)
    assert fleet.seen(user).status is Status.EXPIRED


def test_an_admin_cannot_switch_on_before_the_start_but_can_switch_off_for_good(fleet: Fleet) -> None:
    user = fleet.user(start_at_ms=START_MS)
    assert fleet.change(user, NOW_MS, active=True).standing == (Status.INACTIVE, "not started")
    assert fleet.change(user, NOW_MS, active=False).standing == (Status.INACTIVE, None)
    fleet.tick(START_MS)
    assert fleet.seen(user).standing == (Status.INACTIVE, None)
    assert fleet.change(user, START_MS + 1, active=True).status is Status.ACTIVE


def test_the_end_takes_nothing_from_an_admins_switch(fleet: Fleet) -> None:
    user = fleet.user(duration_s=60, start_at_ms=NOW_MS)
    fleet.change(user, NOW_MS + 1, active=False)
    fleet.tick(NOW_MS + MINUTE_MS)
    assert fleet.seen(user).status is Status.INACTIVE
    assert fleet.change(user, NOW_MS + 2 * MINUTE_MS, duration_s=600).status is Status.INACTIVE
    assert fleet.change(user, NOW_MS + 2 * MINUTE_MS, duration_s=60, active=True).status is Status.EXPIRED


def test_the_expired_get_no_lease(fleet: Fleet) -> None:
    user = fleet.user(quota_bytes=10**9, duration_s=60, start_at_ms=NOW_MS)
    asked = Received(ledger=LEDGER, rows=[], undecodable=[], order=(1, 1), unleased=(user.id,))
    answer = fleet.db.write_now(usage.ingest, fleet.node.id, asked, NOW_MS + MINUTE_MS).value
    assert (answer.leases, answer.stopped) == ([], [user.id])
