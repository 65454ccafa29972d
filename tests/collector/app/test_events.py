"""What is told of changes: what, by whom, before and after; and a user's stream in the order of time."""

from collections.abc import Iterator

import pytest
from msgspec import structs

from collector.app import (
    admins,
    configs,
    endpoints,
    enrolment,
    events,
    heartbeats,
    managers,
    nodes,
    quarantine,
    restarts,
    usage,
    users,
)
from collector.domain.access import OPERATOR, SYSTEM, Actor, Role
from collector.domain.events import Kind, Recorded, Wanted
from collector.domain.nodes import NodeChanges
from collector.domain.refusals import Refused
from collector.domain.reports import Received
from collector.domain.stream import Cursor
from shared.messages import Applied, Heartbeat, Incident, Registration, SyncReport
from shared.names import LedgerId, UserId
from tests.collector.app.fleet import ADMIN, LEDGER, NOW_MS, Fleet
from tests.collector.app.resellers import Resellers

HOUR_MS = 3_600_000
HEARTBEAT = Heartbeat(
    cpu_percent=1,
    memory_percent=1,
    bandwidth_in_bps=1,
    bandwidth_out_bps=1,
    latency_ms=1,
    generation=0,
    agent_version="1",
    core_running=True,
)


@pytest.fixture
def resellers(fleet: Fleet) -> Resellers:
    return Resellers(fleet)


def told(fleet: Fleet, kind: Kind) -> list[Recorded]:
    return fleet.db.read_now(events.page, 0, 1_000, Wanted(kind=kind.value))


def newest(fleet: Fleet) -> Recorded:
    return fleet.db.read_now(events.page, 0, 1_000)[-1]


# --- what is told ------------------------------------------------------------------------------------------


def test_a_change_of_a_user_tells_only_the_fields_that_changed_before_and_after(fleet: Fleet) -> None:
    user = fleet.user(quota_bytes=100)
    fleet.change(user, NOW_MS + 5, quota_bytes=50, name="ada")
    one = newest(fleet)
    assert (one.kind, one.actor, one.subject, one.at_ms) == (
        *("USER_CHANGED", "admin:1", f"user:{user.id}"),
        NOW_MS + 5,
    )
    assert one.data["changes"] == {
        "name": {"before": "user-1", "after": "ada"},
        "quota_bytes": {"before": 100, "after": 50},
    }


def test_a_placing_tells_the_endpoints_before_and_after(fleet: Fleet) -> None:
    user = fleet.user()
    fleet.db.write_now(users.assign, user.id, [], ADMIN, NOW_MS)
    assert newest(fleet).data["changes"] == {"endpoints": {"before": [fleet.endpoint.id], "after": []}}


def test_a_package_is_told_to_start_with_the_first_use_and_to_expire_at_its_end(fleet: Fleet) -> None:
    user = fleet.user(duration_s=3_600)
    fleet.report((user.id, fleet.endpoint.id, 1, 1), now_ms=NOW_MS + 7)
    fleet.report((user.id, fleet.endpoint.id, 1, 2), now_ms=NOW_MS + 8)
    fleet.tick(NOW_MS + 7 + HOUR_MS)
    (started,), (expired,) = told(fleet, Kind.PACKAGE_STARTED), told(fleet, Kind.PACKAGE_EXPIRED)
    assert started.data["started_ms"] == started.data["first_used_ms"] == NOW_MS + 7
    assert expired.data["expires_ms"] == NOW_MS + 7 + HOUR_MS
    assert expired.actor == "system:0"


@pytest.mark.parametrize("looked", [True, False])
def test_a_package_with_a_fixed_start_is_told_to_start_then_and_once(fleet: Fleet, *, looked: bool) -> None:
    user = fleet.user(start_at_ms=NOW_MS + HOUR_MS)
    if looked:
        fleet.tick(NOW_MS + HOUR_MS)
    fleet.report((user.id, fleet.endpoint.id, 1, 1), now_ms=NOW_MS + HOUR_MS + 5)
    fleet.tick(NOW_MS + 2 * HOUR_MS)
    assert len(told(fleet, Kind.PACKAGE_STARTED)) == 1
    assert [one.data["first_used_ms"] for one in told(fleet, Kind.USER_FIRST_USED)] == [NOW_MS + HOUR_MS + 5]


def test_a_start_that_an_admin_moves_into_the_past_begins_the_package(fleet: Fleet) -> None:
    user = fleet.user(start_at_ms=NOW_MS + HOUR_MS)
    fleet.change(user, NOW_MS + 10, start_at_ms=NOW_MS)
    assert [one.at_ms for one in told(fleet, Kind.PACKAGE_STARTED)] == [NOW_MS + 10]
    fleet.tick(NOW_MS + 2 * HOUR_MS)
    assert len(told(fleet, Kind.PACKAGE_STARTED)) == 1


def test_a_row_that_is_held_is_told_once_and_so_is_the_decision(fleet: Fleet) -> None:
    for _ in range(2):
        fleet.report((999, fleet.endpoint.id, 1, 2**70))
    (held,) = fleet.db.read_now(quarantine.every)
    fleet.db.write_now(quarantine.dismiss, held.id, ADMIN, NOW_MS)
    (first,), (last,) = told(fleet, Kind.QUARANTINE_HELD), told(fleet, Kind.QUARANTINE_DISMISSED)
    assert (first.actor, last.actor) == (f"node:{fleet.node.id}", "admin:1")
    assert first.subject == last.subject == f"quarantine:{held.id}"
    assert first.data["down"] == 2**70


def test_a_node_tells_of_its_status_when_it_differs_and_of_each_incident_once(fleet: Fleet) -> None:
    crash = Incident(number=5, at_ms=NOW_MS, kind="core_exited", detail="exit status 1")
    stopped = structs.replace(HEARTBEAT, core_running=False, incidents=[crash], cpu_percent=99)
    for heartbeat in (HEARTBEAT, structs.replace(HEARTBEAT, cpu_percent=2), stopped, stopped):
        fleet.db.write_now(heartbeats.record, fleet.node.id, heartbeat, NOW_MS)
    assert [one.data["core_running"] for one in told(fleet, Kind.NODE_STATUS)] == [True, False]
    (incident,) = told(fleet, Kind.NODE_INCIDENT)
    assert incident.data == {"number": 5, "what": "core_exited"}


def test_items_that_a_node_cannot_apply_are_told_when_they_are_news(fleet: Fleet) -> None:
    generation = fleet.db.read_now(configs.generation, fleet.node.id)
    for error in ("the port is taken", "the port is taken", "no such cipher", None):
        item = Applied(key="endpoint/1", generation=generation, error=error)
        sync = SyncReport(generation=generation, items=[item])
        fleet.db.write_now(configs.acknowledge, fleet.node.id, sync, NOW_MS)
    failures = [one.data["failures"] for one in told(fleet, Kind.NODE_ITEMS_FAILED)]
    assert failures == [{"endpoint/1": "the port is taken"}, {"endpoint/1": "no such cipher"}]
    assert [one.data["keys"] for one in told(fleet, Kind.NODE_ITEMS_APPLIED)] == [["endpoint/1"]]


def test_a_revoked_node_frees_its_leases_by_an_event(fleet: Fleet) -> None:
    user = fleet.user(quota_bytes=10**9)
    asked = Received(ledger=LEDGER, rows=[], undecodable=[], order=(1, 1), unleased=(user.id,))
    fleet.db.write_now(usage.ingest, fleet.node.id, asked, NOW_MS)
    fleet.db.write_now(nodes.revoke, fleet.node.id, ADMIN, NOW_MS)
    assert [one.data["leases"] for one in told(fleet, Kind.LEASES_FREED)] == [1]


def test_a_start_after_a_long_absence_tells_that_numbers_jump(fleet: Fleet) -> None:
    fleet.db.write_now(restarts.begin, NOW_MS + 1_000)
    assert not told(fleet, Kind.RESTORED)
    fleet.db.write_now(restarts.begin, NOW_MS + 30 * HOUR_MS)
    (jump,) = told(fleet, Kind.RESTORED)
    assert (jump.data["last_written_ms"], jump.subject) == (NOW_MS + 1_000, "collector:0")
    assert len(told(fleet, Kind.COLLECTOR_STARTED)) == 2


def test_what_happens_to_nodes_endpoints_and_admins_is_told(fleet: Fleet) -> None:
    node, db = fleet.node.id, fleet.db
    db.write_now(nodes.change, node, NodeChanges(region="fra"), ADMIN, NOW_MS)
    assert newest(fleet).data["changes"] == {"region": {"before": "", "after": "fra"}}
    db.write_now(enrolment.mint, node, b"hash", NOW_MS + 9, ADMIN, NOW_MS)
    assert newest(fleet).data == {"name": "node-1", "expires_ms": NOW_MS + 9}
    joined = Registration(agent_version="7", hostname="h")
    db.write_now(enrolment.redeem, b"hash", "client", b"secret", joined, NOW_MS)
    assert (newest(fleet).actor, newest(fleet).kind) == (f"node:{node}", "NODE_ENROLLED")
    db.write_now(endpoints.remove, fleet.endpoint.id, ADMIN, NOW_MS)
    assert newest(fleet).data["port"] == 443
    db.write_now(admins.create, "root", "hash", OPERATOR, NOW_MS)
    assert (newest(fleet).kind, newest(fleet).data) == ("ADMIN_CREATED", {"name": "root"})


# --- the audit ---------------------------------------------------------------------------------------------


def test_the_audit_holds_what_people_did_and_nothing_that_happened_by_itself(fleet: Fleet) -> None:
    fleet.db.write_now(admins.create, "root", "hash", OPERATOR, NOW_MS)
    user = fleet.user(quota_bytes=10, duration_s=60)
    fleet.report((user.id, fleet.endpoint.id, 10, 10))
    fleet.tick(NOW_MS + HOUR_MS * 9)
    fleet.change(user, NOW_MS + HOUR_MS * 9, quota_bytes=None)
    entries = fleet.db.read_now(events.audit, 0, 100, Wanted(subject=f"user:{user.id}"), OPERATOR).entries
    assert [one.action for one in entries] == ["USER_CREATED", "USER_CHANGED"]
    assert {(one.actor, one.name) for one in entries} == {("admin:1", "root")}
    assert entries[1].details["changes"] == {"quota_bytes": {"before": 10, "after": None}}
    everyone = {one.actor for one in fleet.db.read_now(events.audit, 0, 100, Wanted(), OPERATOR).entries}
    assert everyone == {"admin:0", "admin:1"}


def test_pages_are_filtered_by_subject_actor_kind_and_time(fleet: Fleet) -> None:
    first, second = fleet.user(1), fleet.user(2, now_ms=NOW_MS + 100)
    fleet.change(second, NOW_MS + 200, quota_bytes=1)

    def numbers(**wanted: object) -> list[tuple[str, str]]:
        found = fleet.db.read_now(events.page, 0, 100, Wanted(**wanted))  # type: ignore[arg-type]  # the cases are right
        return [(one.kind, one.subject) for one in found]

    one, two = f"user:{first.id}", f"user:{second.id}"
    assert numbers(subject=one) == [("USER_CREATED", one)]
    assert numbers(kind="USER_CREATED") == [("USER_CREATED", one), ("USER_CREATED", two)]
    assert numbers(kind="USER_CREATED", subject=two) == [("USER_CREATED", two)]
    assert numbers(from_ms=NOW_MS + 100, to_ms=NOW_MS + 200) == [("USER_CREATED", two)]
    assert numbers(actor=str(SYSTEM)) == []
    assert len(numbers(actor="admin:1")) == len(fleet.db.read_now(events.page, 0, 100))


# --- the stream --------------------------------------------------------------------------------------------


def _pages(fleet: Fleet, user: UserId, limit: int, now_ms: int) -> Iterator[Recorded]:
    after: Cursor | None = Cursor()
    while after is not None:
        page = fleet.db.read_now(events.of_user, user, after, limit, now_ms)
        yield from page.events
        after = page.next


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_a_stream_tells_everything_once_in_the_order_of_time_whatever_its_pages(
    fleet: Fleet, limit: int
) -> None:
    user = fleet.user(quota_bytes=1_000)
    for hour in range(4):
        fleet.report((user.id, fleet.endpoint.id, 0, 10 * (hour + 1)), now_ms=NOW_MS + hour * HOUR_MS + 9)
    fleet.change(user, NOW_MS + HOUR_MS + 60_000, quota_bytes=5)
    now_ms = NOW_MS + 3 * HOUR_MS + 60_000
    found = list(_pages(fleet, user.id, limit, now_ms))
    kinds = [one.kind for one in found]
    assert kinds == [
        *("USER_CREATED", "PACKAGE_STARTED", "USAGE_RECORDED", "USER_CHANGED", "USER_SUSPENDED"),
        *("USAGE_RECORDED", "USAGE_RECORDED", "USAGE_RECORDED"),
    ]
    moments = [one.at_ms for one in found]
    assert moments == sorted(moments)
    hours = [one for one in found if one.kind == "USAGE_RECORDED"]
    assert [one.at_ms for one in hours] == [*(NOW_MS + hour * HOUR_MS for hour in (1, 2, 3)), now_ms]
    assert [one.data["open"] for one in hours] == [False, False, False, True]
    assert [one.data["billed_down_bytes"] for one in hours] == [10] * 4


def test_an_hour_of_a_node_that_fell_silent_is_told_on_the_last_page(fleet: Fleet) -> None:
    user = fleet.user()
    fleet.report((user.id, fleet.endpoint.id, 0, 7), now_ms=NOW_MS + 9, ledger=LedgerId("silent"))
    for hour in range(5):
        now_ms = NOW_MS + hour * HOUR_MS + 10
        fleet.report((user.id, fleet.endpoint.id, 0, hour + 1), now_ms=now_ms)
    found = list(_pages(fleet, user.id, 1, now_ms))
    usage_told = [one.data for one in found if one.kind == "USAGE_RECORDED"]
    assert [one["open"] for one in usage_told] == [False, False, False, True, True]
    assert [one["billed_down_bytes"] for one in usage_told] == [1, 1, 1, 8, 1]


def test_the_stream_of_nobody_is_refused(fleet: Fleet) -> None:
    with pytest.raises(Refused, match="there is no user 77"):
        fleet.db.read_now(events.of_user, UserId(77), Cursor(), 10, NOW_MS)


def test_the_stream_of_a_removed_user_is_still_there(fleet: Fleet) -> None:
    user = fleet.user()
    fleet.db.write_now(users.remove, user.id, ADMIN, NOW_MS)
    assert [one.kind for one in _pages(fleet, user.id, 10, NOW_MS)] == ["USER_CREATED", "USER_REMOVED"]


# --- what managers see -------------------------------------------------------------------------------------


def test_a_manager_sees_what_is_about_himself_and_whoever_is_below_him(resellers: Resellers) -> None:
    fleet, top, other = resellers.fleet, resellers.made("top"), resellers.made("other")
    low = resellers.made("low", top)
    mine, theirs = fleet.user(1, manager=low.id), fleet.user(2, manager=other.id)
    fleet.db.write_now(users.remove, mine.id, ADMIN, NOW_MS)
    me = Actor(Role.MANAGER, top.id)
    found = fleet.db.read_now(events.listed, 0, 1_000, Wanted(), me)
    assert {one.subject for one in found.events} == {
        *(f"manager:{top.id}", f"manager:{low.id}"),
        f"user:{mine.id}",
    }
    assert "USER_REMOVED" in {one.kind for one in found.events}
    entries = fleet.db.read_now(events.audit, 0, 1_000, Wanted(), me).entries
    assert {one.name for one in entries} == {None}
    assert fleet.db.read_now(events.of_user, mine.id, Cursor(), 10, NOW_MS, me).events
    with pytest.raises(Refused, match="there is no user"):
        fleet.db.read_now(events.of_user, theirs.id, Cursor(), 10, NOW_MS, me)


def test_a_page_in_which_a_manager_sees_nothing_leads_to_the_next(resellers: Resellers) -> None:
    top = resellers.made("top")
    me, after, found = Actor(Role.MANAGER, top.id), 0, []
    for _ in range(100):
        part = resellers.fleet.db.read_now(events.listed, after, 1, Wanted(), me)
        found += part.events
        if part.next is None:
            break
        after = part.next
    assert [one.kind for one in found] == ["MANAGER_CREATED"]


def test_users_who_go_to_another_manager_are_told_one_by_one(resellers: Resellers) -> None:
    gone, heir = resellers.made("gone"), resellers.made("heir")
    user = resellers.fleet.user(1, manager=gone.id)
    resellers.fleet.db.write_now(managers.remove, gone.id, heir.id, ADMIN, NOW_MS)
    (moved,) = told(resellers.fleet, Kind.USER_CHANGED)
    assert moved.data["changes"] == {"manager": {"before": gone.id, "after": heir.id}}
    replayed = resellers.fleet.db.read_now(events.replayed, user.id, NOW_MS)
    assert replayed is not None
    assert replayed.facts.manager == heir.id
