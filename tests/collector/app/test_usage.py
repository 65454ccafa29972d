"""Reports: billed once, judged at once, bad rows held back."""

import pytest

from collector.app import configs, events, nodes, quarantine, usage, users
from collector.domain import refusals
from collector.domain.nodes import NewNode
from collector.domain.quarantine import Cause
from collector.domain.reports import Received
from collector.domain.users import Status, UserChanges
from shared.names import MAX_BYTES, LedgerId
from tests.collector.app.fleet import ADMIN, LEDGER, NOW_MS, Fleet

LATER_MS = NOW_MS + 60_000


def test_a_repeated_report_is_billed_once(fleet: Fleet) -> None:
    user = fleet.user()
    for _ in range(3):
        fleet.report((user.id, fleet.endpoint.id, 100, 900))
    assert fleet.used(user) == (100, 900)


def test_a_late_older_report_takes_nothing_back_and_adds_nothing(fleet: Fleet) -> None:
    user = fleet.user()
    fleet.report((user.id, fleet.endpoint.id, 100, 900))
    fleet.report((user.id, fleet.endpoint.id, 50, 400))
    assert fleet.used(user) == (100, 900)


def test_two_ledgers_of_a_node_add_up(fleet: Fleet) -> None:
    user = fleet.user()
    fleet.report((user.id, fleet.endpoint.id, 10, 20))
    fleet.report((user.id, fleet.endpoint.id, 1, 2), ledger=LedgerId("ledger-b"))
    assert fleet.used(user) == (11, 22)


def test_a_ledger_of_another_node_is_refused(fleet: Fleet) -> None:
    user = fleet.user()
    fleet.report((user.id, fleet.endpoint.id, 10, 20))
    other = fleet.db.write_now(nodes.create, NewNode(name="node-2"), ADMIN, NOW_MS).value
    with pytest.raises(refusals.Refused, match="another node"):
        fleet.db.write_now(usage.ingest, other.id, Received(ledger=LEDGER, rows=[], undecodable=[]), LATER_MS)


def test_reaching_the_quota_suspends_and_takes_the_account_off_the_node(fleet: Fleet) -> None:
    user = fleet.user(quota_bytes=1_000)
    before = fleet.db.read_now(configs.generation, fleet.node.id)
    change = fleet.report((user.id, fleet.endpoint.id, 100, 900))
    assert change.value.stopped == [user.id]
    assert change.nodes == {fleet.node.id}
    assert fleet.db.read_now(users.one, user.id).status is Status.SUSPENDED
    difference = fleet.db.read_now(configs.difference, fleet.node.id, before)
    assert [(item.key, item.body) for item in difference.items] == [
        (f"account/{user.id}/{fleet.endpoint.id}", None)
    ]


def test_one_byte_below_the_quota_is_still_served(fleet: Fleet) -> None:
    user = fleet.user(quota_bytes=1_000)
    change = fleet.report((user.id, fleet.endpoint.id, 100, 899))
    assert change.value.stopped == []
    assert not change.nodes


def test_a_user_who_is_stopped_stays_named_in_every_answer(fleet: Fleet) -> None:
    user = fleet.user(quota_bytes=10)
    fleet.report((user.id, fleet.endpoint.id, 10, 0))
    again = fleet.report((user.id, fleet.endpoint.id, 15, 0))
    assert again.value.stopped == [user.id]
    assert not again.nodes
    assert fleet.used(user) == (15, 0)


def test_a_higher_quota_brings_a_suspended_user_back(fleet: Fleet) -> None:
    user = fleet.user(quota_bytes=10)
    fleet.report((user.id, fleet.endpoint.id, 10, 0))
    change = fleet.db.write_now(users.change, user.id, UserChanges(quota_bytes=20), ADMIN, LATER_MS)
    assert change.value.status is Status.ACTIVE
    assert change.nodes == {fleet.node.id}
    full = fleet.db.read_now(configs.difference, fleet.node.id, 0)
    assert f"account/{user.id}/{fleet.endpoint.id}" in {item.key for item in full.items}


def test_bytes_of_a_removed_user_are_still_booked_and_he_is_stopped(fleet: Fleet) -> None:
    user = fleet.user()
    fleet.db.write_now(users.remove, user.id, ADMIN, NOW_MS)
    answer = fleet.report((user.id, fleet.endpoint.id, 5, 5)).value
    assert (answer.accepted, answer.stopped) == (1, [user.id])


def test_good_rows_are_billed_beside_bad_ones_which_are_shown(fleet: Fleet) -> None:
    user = fleet.user()
    end = fleet.endpoint.id
    answer = fleet.report(
        (user.id, end, 1, 1),
        (user.id, end, -5, 1),
        (999, end, 1, 1),
        (user.id, 999, 1, 1),
        (user.id, end, 2**70, 1),
    ).value
    assert answer.accepted == 1
    assert [held.row for held in answer.quarantined] == [1, 2, 3, 4]
    assert fleet.used(user) == (1, 1)
    causes = [held.cause for held in fleet.db.read_now(quarantine.every)]
    assert sorted(cause.value for cause in causes) == ["absurd", "unknown", "unknown"]


def test_a_rate_no_link_can_carry_is_held_until_an_admin_bills_it(fleet: Fleet) -> None:
    user = fleet.user()
    tomorrow_ms = NOW_MS + 86_400_000
    fleet.report((user.id, fleet.endpoint.id, 0, 1_000))
    terabytes = 10**15
    fleet.report((user.id, fleet.endpoint.id, 0, terabytes), now_ms=LATER_MS + 1_000)
    fleet.report((user.id, fleet.endpoint.id, 0, terabytes + 7), now_ms=tomorrow_ms)
    assert fleet.used(user) == (0, 1_000)
    (held,) = fleet.db.read_now(quarantine.every)
    assert (held.cause, held.seen_count) == (Cause.TOO_FAST, 2)
    fleet.db.write_now(quarantine.accept, held.id, ADMIN, tomorrow_ms)
    assert fleet.used(user) == (0, terabytes + 7)


def test_a_dismissed_row_is_the_new_base(fleet: Fleet) -> None:
    user = fleet.user()
    fleet.report((user.id, fleet.endpoint.id, 0, 10**16))
    (held,) = fleet.db.read_now(quarantine.every)
    fleet.db.write_now(quarantine.dismiss, held.id, ADMIN, LATER_MS)
    fleet.report((user.id, fleet.endpoint.id, 0, 10**16 + 5))
    assert fleet.used(user) == (0, 5)


def test_rubbish_without_end_does_not_fill_the_disk(fleet: Fleet) -> None:
    rubbish = [(place, f"row {place}") for place in range(1_500)]
    fleet.db.write_now(
        usage.ingest, fleet.node.id, Received(ledger=LEDGER, rows=[], undecodable=rubbish), LATER_MS
    )
    assert len(fleet.db.read_now(quarantine.every)) == 1_000


def test_the_events_of_a_user_tell_why_he_was_suspended(fleet: Fleet) -> None:
    user = fleet.user(quota_bytes=10)
    fleet.report((user.id, fleet.endpoint.id, 10, 1))
    told = [event for event in fleet.db.read_now(events.page, 0, 100) if event.subject == f"user:{user.id}"]
    assert [event.kind for event in told] == ["USER_CREATED", "PACKAGE_STARTED", "USER_SUSPENDED"]
    assert told[-1].data["reason"] == "quota"
    assert told[-1].data["total_bytes"] == 11


def test_a_user_whose_counter_is_full_does_not_undo_the_reports_of_others(fleet: Fleet) -> None:
    hog, other = fleet.user(1), fleet.user(2)
    fleet.report((hog.id, fleet.endpoint.id, 0, 5))
    fleet.report((hog.id, fleet.endpoint.id, 0, MAX_BYTES))
    (held,) = fleet.db.read_now(quarantine.every)
    fleet.db.write_now(quarantine.accept, held.id, ADMIN, LATER_MS)
    fleet.report(
        (hog.id, fleet.endpoint.id, 0, 9), (other.id, fleet.endpoint.id, 1, 2), ledger=LedgerId("ledger-b")
    )
    assert fleet.used(other) == (1, 2)
    assert fleet.db.read_now(users.usage, hog.id).down == MAX_BYTES
