"""Periods: what was used counts until its boundary, whoever notices it first."""

import datetime

import pytest

from collector.app import configs, events, quarantine, usage, users
from collector.domain.reports import Received
from collector.domain.resets import Anchor, Mode
from collector.domain.users import Status, User
from shared.messages import Lease, Usage
from shared.names import QUARTER_MS
from tests.collector.app.fleet import ADMIN, LEDGER, NOW_MS, Fleet
from tests.collector.app.resellers import Resellers

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
#: NOW_MS is 2027-01-15 08:00 in UTC.
MIDNIGHT_MS = NOW_MS + 16 * HOUR_MS


def at(text: str) -> int:
    return int(datetime.datetime.fromisoformat(text).timestamp()) * 1_000


def report(fleet: Fleet, user: User, down: int, now_ms: int) -> list[int]:
    """Report a total; returns who is stopped."""
    rows = (user.id, fleet.endpoint.id, 0, down)
    return [int(one) for one in fleet.report(rows, now_ms=now_ms).value.stopped]


def accounts(fleet: Fleet) -> set[str]:
    full = fleet.db.read_now(configs.difference, fleet.node.id, 0)
    return {item.key for item in full.items if item.key.startswith("account/")}


def test_bytes_reported_before_a_boundary_count_before_it_and_those_after_it_after(fleet: Fleet) -> None:
    user = fleet.user(reset=Mode.DAILY)
    report(fleet, user, 100, MIDNIGHT_MS - 1)
    assert fleet.used(user) == (0, 100)
    report(fleet, user, 130, MIDNIGHT_MS)
    assert fleet.used(user) == (0, 30)
    seen = fleet.seen(user)
    assert (seen.life_down_bytes, seen.period_start_ms) == (130, MIDNIGHT_MS)
    assert seen.due_ms == MIDNIGHT_MS + DAY_MS


def test_the_clock_ends_a_period_once_with_an_event_that_holds_its_figures(fleet: Fleet) -> None:
    user = fleet.user(reset=Mode.DAILY)
    report(fleet, user, 100, NOW_MS + HOUR_MS)
    assert fleet.tick(MIDNIGHT_MS - 1).value == 0
    assert fleet.tick(MIDNIGHT_MS).value == 1
    before = fleet.seen(user)
    assert fleet.tick(MIDNIGHT_MS).value == 0
    assert fleet.seen(user) == before
    assert before.used.total == 0
    (ended,) = (event for event in fleet.db.read_now(events.page, 0, 100) if event.kind == "USER_RESET")
    assert (ended.actor, ended.at_ms) == ("system:0", MIDNIGHT_MS)
    assert ended.data["down_bytes"] == 100
    assert ended.data["period_start_ms"] == MIDNIGHT_MS - DAY_MS
    assert ended.data["next_start_ms"] == MIDNIGHT_MS


def test_a_period_in_which_nothing_was_used_ends_without_an_event(fleet: Fleet) -> None:
    user = fleet.user(reset=Mode.HOURLY)
    for hour in range(1, 4):
        assert fleet.tick(NOW_MS + hour * HOUR_MS).value == 1
    assert fleet.told(user) == []


def test_who_was_suspended_for_his_quota_is_served_again_in_the_new_period(fleet: Fleet) -> None:
    user = fleet.user(quota_bytes=100, reset=Mode.DAILY)
    assert report(fleet, user, 120, NOW_MS + HOUR_MS) == [user.id]
    assert not accounts(fleet)
    assert fleet.tick(MIDNIGHT_MS).nodes == {fleet.node.id}
    assert accounts(fleet) == {f"account/{user.id}/{fleet.endpoint.id}"}
    assert fleet.told(user) == ["USER_SUSPENDED", "USER_RESET", "USER_ACTIVE"]
    assert report(fleet, user, 219, MIDNIGHT_MS + 1) == []
    assert report(fleet, user, 220, MIDNIGHT_MS + 2) == [user.id]


def test_a_report_that_comes_before_the_clock_brings_him_back_as_well(fleet: Fleet) -> None:
    user = fleet.user(quota_bytes=100, reset=Mode.DAILY)
    report(fleet, user, 120, NOW_MS + HOUR_MS)
    asked = Received(ledger=LEDGER, rows=[], undecodable=[], order=(1, 1), unleased=(user.id,))
    answer = fleet.db.write_now(usage.ingest, fleet.node.id, asked, MIDNIGHT_MS)
    assert answer.value.stopped == []
    assert answer.nodes == {fleet.node.id}
    assert [lease.user for lease in answer.value.leases] == [user.id]
    assert fleet.tick(MIDNIGHT_MS).value == 0


def test_what_nodes_still_hold_of_the_old_period_is_outstanding_in_the_new_one(fleet: Fleet) -> None:
    user = fleet.user(quota_bytes=1_000_000, reset=Mode.DAILY)

    def ask(sequence: int, ledger: str, now_ms: int) -> Lease:
        asked = Received(
            ledger=type(LEDGER)(ledger), rows=[], undecodable=[], order=(1, sequence), unleased=(user.id,)
        )
        (lease,) = fleet.db.write_now(usage.ingest, fleet.node.id, asked, now_ms).value.leases
        return lease

    held = ask(1, "ledger-a", NOW_MS).total
    fleet.tick(MIDNIGHT_MS)
    more = ask(1, "ledger-b", MIDNIGHT_MS).total
    assert held
    assert (more or 0) <= 1_000_000 - held
    report(fleet, user, 400_000, MIDNIGHT_MS + 1)
    assert fleet.used(user) == (0, 400_000)


def test_an_admins_switch_outlives_every_reset(fleet: Fleet) -> None:
    user = fleet.user(quota_bytes=100, reset=Mode.DAILY)
    report(fleet, user, 120, NOW_MS + HOUR_MS)
    fleet.change(user, NOW_MS + HOUR_MS, active=False)
    fleet.tick(MIDNIGHT_MS)
    assert fleet.seen(user).standing == (Status.INACTIVE, None)
    assert fleet.used(user) == (0, 0)
    assert not accounts(fleet)


def test_a_month_of_tehran_with_a_change_of_the_clock_has_its_own_boundaries(fleet: Fleet) -> None:
    user = fleet.user(reset=Mode.MONTHLY, zone="Asia/Tehran", now_ms=at("2021-03-10T00:00+00:00"))
    assert fleet.seen(user).period_start_ms == at("2021-02-28T20:30+00:00")
    report(fleet, user, 70, at("2021-03-31T19:29:59+00:00"))
    assert fleet.used(user) == (0, 70)
    report(fleet, user, 75, at("2021-03-31T19:30+00:00"))
    assert fleet.used(user) == (0, 5)
    assert fleet.seen(user).due_ms == at("2021-04-30T19:30+00:00")


def test_after_a_long_absence_of_the_collector_one_reset_leads_to_the_present(fleet: Fleet) -> None:
    user = fleet.user(reset=Mode.HOURLY)
    report(fleet, user, 9, NOW_MS + 1)
    much_later_ms = NOW_MS + 30 * DAY_MS + 5
    assert fleet.tick(much_later_ms).value == 1
    assert fleet.seen(user).period_start_ms == NOW_MS + 30 * DAY_MS
    assert fleet.told(user) == ["USER_RESET"]


def test_a_clock_that_is_set_back_opens_no_period_again(fleet: Fleet) -> None:
    user = fleet.user(reset=Mode.HOURLY)
    report(fleet, user, 10, NOW_MS + HOUR_MS)
    report(fleet, user, 15, NOW_MS + HOUR_MS - 60_000)
    report(fleet, user, 18, NOW_MS + HOUR_MS + 1)
    assert fleet.used(user) == (0, 18)


def test_periods_that_an_admin_changes_keep_what_was_used_until_their_next_boundary(fleet: Fleet) -> None:
    user = fleet.user()
    report(fleet, user, 40, NOW_MS + 1)
    fleet.change(user, NOW_MS + 2, reset=Mode.MONTHLY, reset_day=16)
    assert fleet.used(user) == (0, 40)
    report(fleet, user, 45, MIDNIGHT_MS)
    assert fleet.used(user) == (0, 5)


def test_a_reset_that_is_due_comes_before_an_admins_change(fleet: Fleet) -> None:
    user = fleet.user(quota_bytes=100, reset=Mode.DAILY)
    report(fleet, user, 120, NOW_MS + 1)
    after = fleet.change(user, MIDNIGHT_MS, reset=Mode.NEVER)
    assert (after.status, after.total_bytes, after.due_ms) == (Status.ACTIVE, 0, None)
    assert fleet.told(user) == ["USER_SUSPENDED", "USER_RESET", "USER_CHANGED", "USER_ACTIVE"]


def test_periods_from_the_activation_begin_with_the_first_use_and_keep_its_bytes(fleet: Fleet) -> None:
    user = fleet.user(reset=Mode.DAILY, reset_anchor=Anchor.ACTIVATION)
    assert fleet.seen(user).due_ms is None
    used_ms = NOW_MS + 5 * HOUR_MS
    report(fleet, user, 33, used_ms)
    assert fleet.used(user) == (0, 33)
    assert fleet.tick(used_ms + DAY_MS - 1).value == 0
    assert fleet.tick(used_ms + DAY_MS).value == 1
    assert fleet.used(user) == (0, 0)


def test_the_view_shows_the_period_and_the_life(fleet: Fleet) -> None:
    user = fleet.user(reset=Mode.DAILY, duration_s=30 * 86_400)
    report(fleet, user, 100, NOW_MS + 1)
    report(fleet, user, 130, MIDNIGHT_MS)
    view = fleet.db.read_now(users.usage, user.id)
    assert (view.up, view.down, view.total, view.life_up, view.life_down) == (0, 30, 30, 0, 130)
    assert (view.period_start_ms, view.next_reset_ms) == (MIDNIGHT_MS, MIDNIGHT_MS + DAY_MS)
    assert (view.started_ms, view.expires_ms) == (NOW_MS + 1, NOW_MS + 1 + 30 * DAY_MS)


def test_a_row_that_an_admin_accepts_counts_in_the_period_of_his_decision(fleet: Fleet) -> None:
    user = fleet.user(reset=Mode.DAILY)
    report(fleet, user, 100, NOW_MS + 60_000)
    report(fleet, user, 10**15, NOW_MS + 61_000)
    (held,) = fleet.db.read_now(quarantine.every)
    fleet.db.write_now(quarantine.accept, held.id, ADMIN, MIDNIGHT_MS)
    assert fleet.used(user) == (0, 10**15 - 100)
    assert fleet.told(user) == ["USER_RESET"]


def test_time_passes_over_a_removed_user(fleet: Fleet) -> None:
    user = fleet.user(reset=Mode.DAILY, duration_s=60)
    fleet.db.write_now(users.remove, user.id, ADMIN, NOW_MS + 1)
    assert report(fleet, user, 5, NOW_MS + 2) == [user.id]
    assert fleet.tick(NOW_MS + 5 * DAY_MS).value == 0
    assert not accounts(fleet)


def _late(fleet: Fleet, user: User, past: list[tuple[int, int]], now_ms: int, *, down: int) -> None:
    """Report totals of earlier moments, and the total now."""
    rows = [
        (place, Usage(user.id, fleet.endpoint.id, 0, total), moment_ms // QUARTER_MS)
        for place, (moment_ms, total) in enumerate(past)
    ]
    present = [(len(rows), Usage(user.id, fleet.endpoint.id, 0, down))]
    report = Received(
        ledger=LEDGER,
        rows=present,
        undecodable=[],
        past=rows,
        quarter=now_ms // QUARTER_MS,
        order=(1, now_ms),
    )
    fleet.db.write_now(usage.ingest, fleet.node.id, report, now_ms)


def test_bytes_used_before_a_boundary_count_before_it_when_their_report_comes_after_it(fleet: Fleet) -> None:
    user = fleet.user(reset=Mode.DAILY)
    report(fleet, user, 100, MIDNIGHT_MS - HOUR_MS)
    _late(fleet, user, [(MIDNIGHT_MS - 1, 150)], MIDNIGHT_MS + HOUR_MS, down=175)
    assert fleet.used(user) == (0, 25)
    assert fleet.seen(user).life_down_bytes == 175
    (ended,) = (event for event in fleet.db.read_now(events.page, 0, 100) if event.kind == "USER_RESET")
    assert ended.data["down_bytes"] == 150


@pytest.mark.parametrize("is_over", [False, True])
def test_they_count_in_the_same_periods_of_whoever_is_above(fleet: Fleet, is_over: bool) -> None:
    resellers = Resellers(fleet)
    manager = resellers.made("ada", reset=Mode.DAILY, quota_bytes=1_000)
    user = fleet.user(manager=manager.id)
    report(fleet, user, 100, MIDNIGHT_MS - HOUR_MS)
    if is_over:
        resellers.tick(MIDNIGHT_MS)
    _late(fleet, user, [(MIDNIGHT_MS - 1, 900)], MIDNIGHT_MS + HOUR_MS, down=1_025)
    seen = resellers.seen(manager).manager
    assert (seen.down_bytes, seen.life_down_bytes, seen.served) == (125, 1_025, True)


def test_they_do_so_when_the_clock_has_ended_the_period_already(fleet: Fleet) -> None:
    user = fleet.user(reset=Mode.DAILY)
    report(fleet, user, 100, MIDNIGHT_MS - HOUR_MS)
    fleet.tick(MIDNIGHT_MS)
    _late(fleet, user, [(MIDNIGHT_MS - 1, 150)], MIDNIGHT_MS + HOUR_MS, down=175)
    assert fleet.used(user) == (0, 25)
    assert fleet.seen(user).life_down_bytes == 175


def test_after_an_outage_of_days_each_day_has_its_own_bytes(fleet: Fleet) -> None:
    user = fleet.user(quota_bytes=1_000, reset=Mode.DAILY)
    report(fleet, user, 100, MIDNIGHT_MS - HOUR_MS)
    days = [(MIDNIGHT_MS + day * DAY_MS + 10 * HOUR_MS, 100 + (day + 1) * 600) for day in range(3)]
    _late(fleet, user, days, MIDNIGHT_MS + 3 * DAY_MS, down=1_900)
    seen = fleet.seen(user)
    assert (seen.status, seen.down_bytes, seen.life_down_bytes) == (Status.ACTIVE, 0, 1_900)
    hours = fleet.db.read_now(
        lambda session: session.rows("SELECT hour, down_bytes FROM history ORDER BY hour")
    )
    assert [(hour * HOUR_MS, down) for hour, down in hours] == [
        (MIDNIGHT_MS - HOUR_MS, 100),
        *((MIDNIGHT_MS + day * DAY_MS + 10 * HOUR_MS, 600) for day in range(3)),
    ]


def test_a_node_whose_clock_is_wrong_moves_bytes_by_minutes_at_most(fleet: Fleet) -> None:
    user = fleet.user(reset=Mode.DAILY)
    report(fleet, user, 100, MIDNIGHT_MS + HOUR_MS)
    _late(fleet, user, [(MIDNIGHT_MS - 30 * DAY_MS, 150)], MIDNIGHT_MS + 2 * HOUR_MS, down=175)
    assert fleet.used(user) == (0, 175)
    _late(fleet, user, [(MIDNIGHT_MS + 30 * DAY_MS, 185)], MIDNIGHT_MS + 3 * HOUR_MS, down=190)
    assert fleet.used(user) == (0, 190)
