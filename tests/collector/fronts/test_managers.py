"""Managers over the API: shown as they are set, logged in, and each alone in what is his."""

from typing import Any

import pytest

from collector.domain.users import Status
from collector.tasks import managers as task
from shared.messages import Sighting
from shared.names import EndpointId, NodeId, UserId
from tests.collector.fronts.rig import PASSWORD, ZONE, Rig

PATH = "/api/v1/managers"
USERS = "/api/v1/users"
TOKEN = "/api/v1/auth/token"


def log_in(rig: Rig, name: str, password: str) -> Any:  # noqa: ANN401 - a response
    return rig.send("POST", TOKEN, {"username": name, "password": password})


def ids(rig: Rig, path: str, token: str) -> list[int]:
    answer = rig.send("GET", path, token=token)
    assert answer.status_code == 200
    return [one["id"] for one in answer.json()["users" if path.startswith(USERS) else "managers"]]


def test_a_manager_shows_his_fields_under_the_names_by_which_they_are_set(rig: Rig) -> None:
    token, top = rig.admin(), rig.manager("top")
    fields: dict[str, Any] = {
        "name": "ada",
        "parent": top,
        "quota_bytes": 1000,
        "up_limit_bytes": 600,
        "down_limit_bytes": 700,
        "max_sessions": 30,
        "max_online": 20,
        "max_active": 10,
        "notice_percent": 90,
        "notices": 5,
        "penalty_s": 60,
        "reset": "yearly",
        "reset_anchor": "calendar",
        "reset_day": 29,
        "reset_month": 2,
        "zone": "Europe/Berlin",
        "duration_s": 86_400,
        "start_at_ms": 1_700_000_000_000,
    }
    created = rig.send("POST", PATH, fields, token=token)
    assert created.status_code == 201
    shown = rig.send("GET", f"{PATH}/{created.json()['id']}", token=token).json()
    assert shown == created.json()
    assert {field: shown[field] for field in fields} == fields
    assert (shown["status"], shown["expires_ms"]) == ("expired", 1_700_086_400_000)
    assert (shown["users"], shown["own_users"], shown["online"], shown["sessions"]) == (0, 0, 0, 0)


def test_a_manager_without_a_zone_gets_the_collectors(rig: Rig) -> None:
    assert rig.send("POST", PATH, {"name": "ada"}, token=rig.admin()).json()["zone"] == ZONE


def test_a_limit_above_the_parents_is_named_with_the_parents_figure(rig: Rig) -> None:
    token, top = rig.admin(), rig.manager("top", max_online=100)
    answer = rig.send("POST", PATH, {"name": "ada", "parent": top, "max_online": 101}, token=token)
    assert answer.status_code == 422
    assert "at most 100" in answer.json()["fields"]["max_online"]
    unknown = rig.send("POST", PATH, {"name": "ada", "max_onlin": 101}, token=token)
    assert unknown.status_code == 422


def test_the_tree_lists_everybody_after_whoever_is_above_him(rig: Rig) -> None:
    token, top = rig.admin(), rig.manager("top")
    left = rig.manager("left", top)
    other, leaf = rig.manager("other"), rig.manager("leaf", left)
    rig.user("ann", manager=leaf)
    tree = rig.send("GET", f"{PATH}/tree", token=token).json()["managers"]
    assert [(one["id"], one["depth"]) for one in tree] == [(top, 0), (left, 1), (leaf, 2), (other, 0)]
    assert [one["users"] for one in tree] == [1, 1, 1, 0]
    assert ids(rig, f"{PATH}/tree?manager={left}", token) == [left, leaf]
    assert ids(rig, f"{PATH}?after={top}&limit=2", token) == [left, other]


def test_users_are_listed_by_their_manager_or_by_anybody_above_him(rig: Rig) -> None:
    token, top = rig.admin(), rig.manager("top")
    leaf = rig.manager("leaf", top)
    high, low, free = rig.user("a", manager=top), rig.user("b", manager=leaf), rig.user("c")
    assert ids(rig, USERS, token) == [high, low, free]
    assert ids(rig, f"{USERS}?manager={top}", token) == [high]
    assert ids(rig, f"{USERS}?manager={top}&below=1", token) == [high, low]
    shown = rig.send("PATCH", f"{USERS}/{free}", {"manager": leaf}, token=token).json()
    assert shown["manager"] == leaf
    assert ids(rig, f"{USERS}?manager={leaf}", token) == [low, free]
    assert rig.send("PATCH", f"{USERS}/{free}", {"manager": None}, token=token).json()["manager"] is None
    assert rig.send("GET", f"{USERS}?manager=99", token=token).status_code == 404


def test_a_manager_logs_in_with_the_password_that_was_made_for_him(rig: Rig) -> None:
    admin, manager = rig.admin(), rig.manager("ada")
    assert log_in(rig, "ada", PASSWORD).status_code == 401
    login = rig.send("POST", f"{PATH}/{manager}/login", token=admin).json()
    token = log_in(rig, login["username"], login["password"]).json()["access_token"]
    assert ids(rig, PATH, token) == [manager]
    own = rig.send("POST", f"{PATH}/{manager}/login", token=token).json()
    assert rig.send("GET", PATH, token=token).status_code == 401
    assert log_in(rig, "ada", login["password"]).status_code == 401
    again = log_in(rig, "ada", own["password"]).json()["access_token"]
    assert rig.send("DELETE", f"{PATH}/{manager}/login", token=again).status_code == 403
    assert rig.send("DELETE", f"{PATH}/{manager}/login", token=admin).status_code == 204
    assert rig.send("GET", PATH, token=again).status_code == 401
    assert log_in(rig, "ada", own["password"]).status_code == 401


def test_admins_and_managers_share_no_name(rig: Rig) -> None:
    token = rig.admin(name="root")
    assert rig.send("POST", PATH, {"name": "root"}, token=token).status_code == 409
    rig.manager("ada")
    with pytest.raises(Exception, match="ada already"):
        rig.admin(name="ada")


def test_who_is_switched_off_or_below_somebody_who_is_cannot_call(rig: Rig) -> None:
    admin, top = rig.admin(), rig.manager("top")
    leaf = rig.manager("leaf", top)
    tokens = [rig.manager_token(top), rig.manager_token(leaf)]
    assert [rig.send("GET", PATH, token=token).status_code for token in tokens] == [200, 200]
    rig.send("PATCH", f"{PATH}/{top}", {"active": False}, token=admin)
    assert [rig.send("GET", PATH, token=token).status_code for token in tokens] == [401, 401]
    assert log_in(rig, "leaf", PASSWORD).status_code == 401
    rig.send("PATCH", f"{PATH}/{top}", {"active": True}, token=admin)
    assert [rig.send("GET", PATH, token=token).status_code for token in tokens] == [200, 200]


def test_who_has_used_up_his_limit_can_still_look(rig: Rig) -> None:
    token = rig.manager_token(rig.manager("ada", quota_bytes=0))
    (shown,) = rig.send("GET", PATH, token=token).json()["managers"]
    assert (shown["status"], shown["reason"]) == ("suspended", "quota")


def test_a_manager_sees_and_changes_only_what_is_below_him(rig: Rig) -> None:
    top = rig.manager("top", max_online=9)
    mine, beside = rig.manager("mine", top), rig.manager("beside", top)
    sub = rig.manager("sub", mine)
    people = {one: rig.user(f"u-{one}", manager=one) for one in (top, mine, beside, sub)}
    free, token = rig.user("free"), rig.manager_token(mine)
    assert ids(rig, USERS, token) == [people[mine], people[sub]]
    assert ids(rig, PATH, token) == [mine, sub]
    assert ids(rig, f"{PATH}/tree", token) == [mine, sub]
    assert rig.send("GET", f"{PATH}/{mine}", token=token).json()["parent"] is None
    assert rig.send("GET", f"{PATH}/{sub}", token=token).json()["parent"] == mine
    for user in (people[top], people[beside], free):
        _is_nobody(rig, f"{USERS}/{user}", 999, token)
    for manager in (top, beside):
        _is_nobody(rig, f"{PATH}/{manager}", 999, token)
    assert rig.send("PATCH", f"{PATH}/{mine}", {"max_online": None}, token=token).status_code == 403
    assert rig.send("DELETE", f"{PATH}/{mine}", token=token).status_code == 403


def _is_nobody(rig: Rig, path: str, nobody: int, token: str) -> None:
    """Every method answers as it does for an id that was never given out."""
    never = path.rsplit("/", 1)[0] + f"/{nobody}"
    for method, body in (("GET", None), ("PATCH", {"name": "x"}), ("DELETE", None)):
        found, expected = (rig.send(method, one, body, token=token) for one in (path, never))
        assert found.status_code == expected.status_code == 404
        number = path.rsplit("/", 1)[1]
        assert found.json()["detail"].replace(number, "N") == expected.json()["detail"].replace("999", "N")


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (USERS, {"name": "x", "manager": 1}, "manager"),
        (USERS, {"name": "x", "manager": 3}, "manager"),
        (PATH, {"name": "x", "parent": 1}, "parent"),
        (PATH, {"name": "x", "parent": 3}, "parent"),
        (PATH, {"name": "x", "max_online": 10}, "max_online"),
    ],
    ids=str,
)
def test_a_manager_makes_nothing_outside_and_nothing_beyond_his_limits(
    rig: Rig, path: str, body: dict[str, Any], field: str
) -> None:
    above = rig.manager("above")
    token = rig.manager_token(rig.manager("mine", above, max_online=9))
    rig.manager("beside", above)
    answer = rig.send("POST", path, body, token=token)
    assert (answer.status_code, set(answer.json()["fields"])) == (422, {field})
    made = rig.send("POST", path, {"name": "x"}, token=token).json()
    assert made["manager" if path == USERS else "parent"] == 2


def test_a_manager_moves_nobody_out_of_what_is_his(rig: Rig) -> None:
    mine, beside = rig.manager("mine"), rig.manager("beside")
    sub, user = rig.manager("sub", mine), rig.user("ann", manager=mine)
    token = rig.manager_token(mine)
    for place in (beside, None):
        for path, field in ((f"{USERS}/{user}", "manager"), (f"{PATH}/{sub}", "parent")):
            answer = rig.send("PATCH", path, {field: place}, token=token)
            assert (answer.status_code, set(answer.json()["fields"])) == (422, {field})
    assert rig.send("DELETE", f"{PATH}/{sub}?move_to={beside}", token=token).status_code == 422
    assert rig.send("PATCH", f"{USERS}/{user}", {"manager": sub}, token=token).json()["manager"] == sub
    assert rig.send("DELETE", f"{PATH}/{sub}?move_to={mine}", token=token).status_code == 204
    assert rig.send("GET", f"{USERS}/{user}", token=token).json()["manager"] == mine


def test_a_manager_learns_of_nodes_only_where_users_can_be_put(rig: Rig) -> None:
    node = rig.joined("fra-1")
    endpoint, token = rig.endpoint(node.id), rig.manager_token(rig.manager("ada"))
    (place,) = rig.send("GET", "/api/v1/endpoints", token=token).json()["endpoints"]
    assert place["id"] == endpoint
    assert set(place) == {"id", "name", "protocol", "factor_permille", "node", "region"}
    body = {"name": "ann", "endpoints": [endpoint]}
    assert rig.send("POST", USERS, body, token=token).status_code == 201


def test_what_a_manager_does_is_told_under_his_name(rig: Rig) -> None:
    admin, manager = rig.admin(), rig.manager("ada")
    rig.send("POST", USERS, {"name": "ann"}, token=rig.manager_token(manager))
    events = rig.send("GET", "/api/v1/events", token=admin).json()["events"]
    (made,) = (event for event in events if event["kind"] == "USER_CREATED")
    assert made["actor"] == f"manager:{manager}"


def test_a_change_wakes_whoever_carries_limits_out_and_nodes_hear_of_it(rig: Rig) -> None:
    node = rig.joined()
    endpoint, top = rig.endpoint(node.id), rig.manager("top")
    user = rig.user("ann", endpoint, manager=rig.manager("leaf", top))
    token, woken = rig.admin(), list[int]()

    async def scenario() -> None:
        answer = await rig.ask("PATCH", f"{PATH}/{top}", {"active": False}, token=token)
        assert answer.status_code == 200
        assert await rig.hub.managers.wait(5.0)
        await task.run(rig.data, woken.extend, dict, {}, lambda: rig.now_ms)

    rig.run(scenario())
    assert woken == [node.id]
    shown = rig.send("GET", f"{USERS}/{user}", token=token).json()
    assert (shown["status"], shown["reason"]) == (Status.SUSPENDED.value, "manager")


def test_live_counts_are_shown_at_every_height(rig: Rig) -> None:
    top = rig.manager("top")
    leaf = rig.manager("leaf", top)
    user = rig.user("ann", manager=leaf)
    rows = [Sighting(UserId(user), EndpointId(1), f"{number:032x}") for number in range(3)]
    rig.tracker.admit(NodeId(1), 1, rows, [(UserId(user), EndpointId(1))], rig.clock.now_s)
    token = rig.admin()
    for manager in (top, leaf):
        shown = rig.send("GET", f"{PATH}/{manager}", token=token).json()
        assert (shown["online"], shown["sessions"], shown["users"]) == (1, 3, 1)
