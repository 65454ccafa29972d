"""What managers' limits do to whoever is below them, from the event to the node's desired state."""

from collections.abc import Callable

import pytest
from msgspec import structs

from collector.app import phases, users
from collector.domain.phases import Held, Hold
from collector.domain.refusals import Kind, Refused
from collector.domain.resets import Mode
from collector.domain.users import Status
from collector.store import users as rows
from collector.tasks import managers as task
from shared.names import UserId
from tests.collector.app.fleet import ADMIN, NOW_MS, Fleet
from tests.collector.app.resellers import Resellers

DAY_MS = 86_400_000
MINUTE_MS = 60_000
#: NOW_MS is 2027-01-15 08:00 in UTC.
MIDNIGHT_MS = NOW_MS + 16 * 3_600_000


@pytest.fixture
def resellers(fleet: Fleet) -> Resellers:
    return Resellers(fleet)


def test_a_limit_of_bytes_cuts_everybody_below_at_any_depth_and_nobody_else(resellers: Resellers) -> None:
    fleet = resellers.fleet
    top = resellers.made("top", quota_bytes=100)
    leaf = resellers.made("leaf", resellers.made("middle", top))
    high, low = fleet.user(1, manager=top.id), fleet.user(2, manager=leaf.id)
    other, free = fleet.user(3, manager=resellers.made("other").id), fleet.user(4)
    assert resellers.charge(leaf, 40, 60)
    resellers.run()
    assert resellers.reasons(high, low, other, free) == ["manager", "manager", None, None]
    assert fleet.seen(low).status is Status.SUSPENDED
    assert resellers.served() == {other.id, free.id}
    assert resellers.told(top) == ["MANAGER_NOTICE", "MANAGER_STOPPED"]
    assert fleet.told(low) == ["USER_SUSPENDED"]
    resellers.change(top, quota_bytes=101)
    resellers.run()
    assert resellers.served() == {high.id, low.id, other.id, free.id}
    assert resellers.told(top)[2:] == ["MANAGER_CHANGED", "MANAGER_RESUMED"]


def test_a_new_period_lets_everybody_go_on_and_tells_the_figures_of_the_old_one(resellers: Resellers) -> None:
    fleet = resellers.fleet
    top = resellers.made("top", quota_bytes=100, reset=Mode.DAILY)
    user = fleet.user(manager=top.id)
    resellers.charge(top, 0, 130)
    resellers.run()
    assert resellers.tick(MIDNIGHT_MS - 1) == 0
    assert resellers.tick(MIDNIGHT_MS) == 1
    assert resellers.tick(MIDNIGHT_MS) == 0
    resellers.run(MIDNIGHT_MS)
    assert resellers.served() == {user.id}
    ended = resellers.events(top)[-2]
    assert (ended.kind, ended.data["down_bytes"]) == ("MANAGER_RESET", 130)
    assert resellers.told(top)[-1] == "MANAGER_RESUMED"
    assert resellers.seen(top).manager.life_down_bytes == 130


def test_the_end_of_a_manager_ends_everybody_below_him(resellers: Resellers) -> None:
    top = resellers.made("top", duration_s=60)
    user = resellers.fleet.user(manager=resellers.made("leaf", top).id)
    resellers.charge(top, 1, 0)
    resellers.tick(NOW_MS + MINUTE_MS)
    resellers.run(NOW_MS + MINUTE_MS)
    assert resellers.reasons(user) == ["manager"]
    assert resellers.events(top)[-1].data["limit"] == "expired"


def test_an_admins_switch_and_a_penalty_of_a_user_are_never_touched(resellers: Resellers) -> None:
    fleet = resellers.fleet
    top = resellers.made("top", quota_bytes=10)
    off, punished = fleet.user(1, manager=top.id), fleet.user(2, manager=top.id)
    fleet.change(off, NOW_MS, active=False)
    fleet.db.write_now(
        rows.save_standing, [structs.replace(fleet.seen(punished), status=Status.SUSPENDED, reason="penalty")]
    )
    for quota in (10, 11):
        resellers.charge(top, 0, 10 if quota == 10 else 0)
        resellers.change(top, quota_bytes=quota)
        resellers.run()
        assert fleet.seen(off).standing == (Status.INACTIVE, None)
        assert fleet.seen(punished).standing == (Status.SUSPENDED, "penalty")
    assert fleet.told(off) == ["USER_CHANGED", "USER_INACTIVE"]
    assert fleet.told(punished) == []


def test_his_own_quota_is_the_reason_while_both_stop_a_user(resellers: Resellers) -> None:
    fleet = resellers.fleet
    top = resellers.made("top", quota_bytes=10)
    user = fleet.user(manager=top.id, quota_bytes=5)
    fleet.report((user.id, fleet.endpoint.id, 0, 5))
    resellers.charge(top, 0, 10)
    resellers.run()
    assert resellers.reasons(user) == ["quota"]
    fleet.change(user, NOW_MS + MINUTE_MS, quota_bytes=None)
    assert resellers.reasons(user) == ["manager"]
    resellers.change(top, quota_bytes=None)
    resellers.run()
    assert fleet.seen(user).served


def test_online_users_at_their_limit_stay_and_nobody_new_comes_in(
    resellers: Resellers,
) -> None:
    fleet = resellers.fleet
    top = resellers.made("top", max_online=2)
    here = [fleet.user(number, manager=resellers.made(f"m-{number}", top).id) for number in range(3)]
    resellers.live = {here[0].id: 1, here[1].id: 5}
    resellers.run()
    assert resellers.served() == {here[0].id, here[1].id}
    assert "MANAGER_STOPPED" in resellers.told(top)
    del resellers.live[here[0].id]
    resellers.run(NOW_MS + 1)
    assert resellers.served() == {user.id for user in here}
    assert resellers.told(top)[-1] == "MANAGER_RESUMED"
    resellers.run(NOW_MS + 2)
    assert resellers.told(top)[-1] == "MANAGER_RESUMED"


def test_the_children_together_keep_to_their_parents_limit(resellers: Resellers) -> None:
    fleet = resellers.fleet
    top = resellers.made("top", max_online=3)
    left, right = resellers.made("left", top, max_online=2), resellers.made("right", top, max_online=2)
    people = [fleet.user(number, manager=(left, right)[number % 2].id) for number in range(6)]
    resellers.live = {people[0].id: 1, people[1].id: 1, people[3].id: 1}
    resellers.run()
    assert resellers.served() == set(resellers.live)


def test_beyond_a_limit_everybody_is_cut_after_the_notices_for_the_penalty(
    resellers: Resellers,
) -> None:
    fleet = resellers.fleet
    top = resellers.made("top", max_sessions=2, notices=2, penalty_s=600)
    users_of = [fleet.user(number, manager=top.id) for number in range(3)]
    resellers.live = {users_of[0].id: 4}
    for minute in range(2):
        resellers.run(NOW_MS + minute * MINUTE_MS)
        assert resellers.served() == {users_of[0].id}
    resellers.run(NOW_MS + 2 * MINUTE_MS)
    assert resellers.served() == set()
    resellers.live = {}
    resellers.run(NOW_MS + 12 * MINUTE_MS - 1)
    assert resellers.served() == set()
    resellers.run(NOW_MS + 12 * MINUTE_MS)
    assert resellers.served() == {user.id for user in users_of}
    kinds = resellers.told(top)
    assert kinds.count("MANAGER_PENALTY") == 1
    assert kinds.index("MANAGER_NOTICE") < kinds.index("MANAGER_PENALTY") < kinds.index("MANAGER_RESUMED")


def test_a_restart_ends_a_penalty(resellers: Resellers) -> None:
    user = resellers.fleet.user(manager=resellers.made("top", max_sessions=1, notices=0).id)
    resellers.live = {user.id: 2}
    resellers.run()
    resellers.live = {}
    resellers.run(NOW_MS + 1)
    assert resellers.served() == set()
    restarted = Resellers(resellers.fleet)
    restarted.run(NOW_MS + 2)
    assert restarted.served() == {user.id}


def test_at_the_limit_of_active_users_the_others_are_blocked_and_no_more_are_made(
    resellers: Resellers,
) -> None:
    fleet = resellers.fleet
    top = resellers.made("top", max_active=2, reset=Mode.DAILY)
    leaf, other = resellers.made("leaf", top), resellers.made("other")
    people = [fleet.user(number, manager=leaf.id) for number in range(4)]
    outside = fleet.user(9, manager=other.id)
    fleet.report((people[0].id, fleet.endpoint.id, 0, 1))
    resellers.run()
    assert len(resellers.served()) == 5
    fleet.report((people[1].id, fleet.endpoint.id, 0, 1))
    resellers.run()
    assert resellers.served() == {people[0].id, people[1].id, outside.id}
    asked: list[Callable[[], object]] = [
        lambda: fleet.user(5, manager=leaf.id),
        lambda: fleet.change(outside, NOW_MS, manager=top.id),
    ]
    for ask in asked:
        with pytest.raises(Refused) as refusal:
            ask()
        assert (refusal.value.kind, set(refusal.value.fields)) == (Kind.CONFLICT, {"manager"})
    resellers.tick(MIDNIGHT_MS)
    resellers.run(MIDNIGHT_MS)
    assert len(resellers.served()) == 5
    assert fleet.user(5, manager=leaf.id).served


def test_who_is_active_is_counted_in_each_managers_own_period(resellers: Resellers) -> None:
    fleet = resellers.fleet
    top = resellers.made("top", reset=Mode.DAILY)
    leaf = resellers.made("leaf", top)
    early, late = fleet.user(1, manager=leaf.id), fleet.user(2, manager=leaf.id)
    fleet.report((early.id, fleet.endpoint.id, 0, 1))
    resellers.tick(MIDNIGHT_MS)
    fleet.report((late.id, fleet.endpoint.id, 0, 1), now_ms=MIDNIGHT_MS + 1)
    assert [resellers.seen(one).counts.active for one in (top, leaf)] == [1, 2]


def test_the_active_are_let_back_when_everybody_was_cut_for_something_else(resellers: Resellers) -> None:
    fleet = resellers.fleet
    top = resellers.made("top", max_active=1)
    active, idle = fleet.user(1, manager=top.id), fleet.user(2, manager=top.id)
    fleet.report((active.id, fleet.endpoint.id, 0, 1))
    resellers.change(top, active=False)
    resellers.run()
    assert not resellers.served()
    resellers.change(top, active=True)
    resellers.run()
    assert resellers.served() == {active.id}
    assert resellers.reasons(idle) == ["manager"]


def test_who_is_made_or_moved_below_a_stopped_manager_is_stopped_at_once(resellers: Resellers) -> None:
    fleet = resellers.fleet
    stopped, free = resellers.made("stopped"), resellers.made("free")
    leaf = resellers.made("leaf", stopped)
    resellers.change(stopped, active=False)
    born, moved = fleet.user(1, manager=leaf.id), fleet.user(2, manager=free.id)
    assert resellers.reasons(born) == ["manager"]
    assert resellers.served() == {moved.id}
    assert fleet.change(moved, NOW_MS, manager=leaf.id).reason == "manager"
    assert fleet.change(born, NOW_MS, manager=None).served
    assert resellers.served() == {born.id}


def test_many_are_stopped_in_batches_and_a_second_run_changes_nobody(
    resellers: Resellers, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = resellers.fleet
    monkeypatch.setattr(task, "BATCH", 2)
    top = resellers.made("top")
    people = [fleet.user(number, manager=top.id) for number in range(5)]
    resellers.change(top, active=False)
    held = {top.id: Held(Hold.EVERYBODY)}
    sizes = [fleet.db.write_now(phases.enforce, held, {}, 2, NOW_MS).value for _ in range(4)]
    assert sizes == [2, 2, 1, 0]
    resellers.change(top, active=True)
    resellers.run()
    resellers.run()
    assert [fleet.told(user) for user in people] == [["USER_SUSPENDED", "USER_ACTIVE"]] * 5


def test_the_removed_are_left_alone(resellers: Resellers) -> None:
    fleet = resellers.fleet
    top = resellers.made("top")
    gone = fleet.user(manager=top.id)
    fleet.db.write_now(users.remove, gone.id, ADMIN, NOW_MS)
    resellers.change(top, active=False)
    resellers.run()
    assert fleet.told(gone) == ["USER_REMOVED"]
    assert resellers.seen(top).users == 0
    assert fleet.db.read_now(users.page, UserId(0), 10) == []
