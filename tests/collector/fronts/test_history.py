"""Usage over the API: by hour, day and month, and who moved most."""

from typing import Any

import pytest

from collector.app import users
from collector.domain.access import SYSTEM
from collector.domain.history import Moved
from collector.store import history
from shared.names import EndpointId, UserId
from tests.collector.fronts.rig import ZONE, Rig

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


def _world(rig: Rig) -> dict[str, int]:
    """Two users who moved something: one an hour ago, one now; one of them was removed since."""
    node = rig.joined()
    endpoint = rig.endpoint(node.id)
    ids = {"node": node.id, "endpoint": endpoint, "user": rig.user("ada", endpoint)}
    gone = rig.user("bob", endpoint)
    for name, row in (("a", [ids["user"], endpoint, 5, 50]), ("b", [gone, endpoint, 7, 70])):
        report = {"ledger": name, "rows": [row]}
        assert rig.send("POST", "/api/v1/usage", report, token=node.token).status_code == 200
    rig.data.write_now(users.remove, gone, SYSTEM, rig.now_ms)
    return {**ids, "gone": gone}


@pytest.mark.parametrize("step", ["hour", "day", "month"])
def test_everybody_is_shown_with_what_he_moved(rig: Rig, step: str) -> None:
    ids, token = _world(rig), rig.admin()
    wanted = {
        f"users/{ids['user']}": (5, 50),
        f"users/{ids['gone']}": (7, 70),
        f"nodes/{ids['node']}": (12, 120),
        f"endpoints/{ids['endpoint']}": (12, 120),
    }
    paths = {f"/api/v1/{what}/usage/history": amount for what, amount in wanted.items()}
    for path, amount in {**paths, "/api/v1/usage/history": (12, 120)}.items():
        shown = rig.send("GET", f"{path}?step={step}", token=token).json()
        assert (shown["up"], shown["down"]) == amount
        assert (shown["billed_up"], shown["billed_down"]) == amount
        assert (shown["step"], shown["zone"]) == (step, ZONE)
        assert sum(point["down"] for point in shown["points"]) == amount[1]


def test_a_zone_decides_where_days_begin(rig: Rig) -> None:
    token = rig.admin()
    for zone, offset_ms in (("UTC", 0), ("Asia/Kathmandu", -20_700_000)):
        answer = rig.send("GET", f"/api/v1/usage/history?step=day&zone={zone}", token=token).json()
        assert answer["zone"] == zone
        assert {point["start_ms"] % DAY_MS for point in answer["points"]} == {offset_ms % DAY_MS}


def test_the_top_is_ranked_by_whom_and_what_was_asked(rig: Rig) -> None:
    ids, token = _world(rig), rig.admin()
    first = {
        "user": (ids["gone"], "bob"),
        "node": (ids["node"], "node-1"),
        "endpoint": (ids["endpoint"], "main"),
    }
    for by, wanted in first.items():
        for order in ("raw", "billed"):
            shown = rig.send("GET", f"/api/v1/usage/top?by={by}&order={order}&limit=1", token=token).json()
            assert [(one["id"], one["name"]) for one in shown["top"]] == [wanted]
            assert (shown["by"], shown["order"]) == (by, order)


WRONG: list[tuple[str, str]] = [
    ("usage/history?step=week", "step"),
    ("usage/history?step=", "step"),
    ("usage/history?zone=Mars/Olympus", "zone"),
    ("usage/history?zone=", "zone"),
    ("usage/history?from_ms=yesterday", "from_ms"),
    ("usage/history?to_ms=-1", "to_ms"),
    ("usage/history?steps=day", "steps"),
    ("usage/history?step=hour&from_ms=1000000000000", "from_ms"),
    ("usage/history?from_ms=2000&to_ms=1000", "from_ms"),
    ("usage/top?by=planet", "by"),
    ("usage/top?order=up", "order"),
    ("usage/top?limit=0", "limit"),
    ("usage/top?from_ms=1000000000000", "from_ms"),
]


@pytest.mark.parametrize(("path", "field"), WRONG)
def test_what_cannot_be_answered_is_named_by_its_parameter(rig: Rig, path: str, field: str) -> None:
    answer = rig.send("GET", f"/api/v1/{path}", token=rig.admin())
    assert answer.status_code in {400, 422}
    assert list(answer.json()["fields"]) == [field]


@pytest.mark.parametrize("what", ["users", "nodes", "endpoints"])
def test_nobody_has_no_history(rig: Rig, what: str) -> None:
    answer = rig.send("GET", f"/api/v1/{what}/77/usage/history", token=rig.admin())
    assert answer.status_code == 404
    assert "77" in answer.json()["detail"]


def test_a_month_whose_file_is_lost_is_named_and_other_months_are_shown(rig: Rig) -> None:
    def lose(session: Any) -> None:  # noqa: ANN401 - the session
        session.run("INSERT INTO month (month, sequence, mark) VALUES (?, 1, 1)", (2026 * 12,))

    rig.data.write_now(lose)
    january_ms = 1_767_225_600_000
    token, month = rig.admin(), f"from_ms={january_ms}&to_ms={january_ms + 32 * DAY_MS}"
    lost = rig.send("GET", f"/api/v1/usage/history?{month}", token=token)
    assert lost.status_code == 503
    assert "history-2026-01.db" in lost.json()["detail"]
    after = f"from_ms={january_ms + 31 * DAY_MS}&to_ms={january_ms + 32 * DAY_MS}"
    assert rig.send("GET", f"/api/v1/usage/history?{after}", token=token).status_code == 200
    assert rig.send("GET", f"/api/v1/usage/top?{month}", token=token).status_code == 503


def test_a_node_shows_its_periods_under_the_names_by_which_they_are_set(rig: Rig) -> None:
    token = rig.admin()
    times: dict[str, Any] = {"reset": "yearly", "reset_day": 29, "reset_month": 2, "zone": "Europe/Berlin"}
    created = rig.send("POST", "/api/v1/nodes", {"name": "n", **times}, token=token).json()
    assert {field: created[field] for field in times} == times
    assert created["period_start_ms"] <= rig.now_ms < created["next_reset_ms"]
    path = f"/api/v1/nodes/{created['id']}"
    weekly = rig.send("PATCH", path, {"reset": "weekly"}, token=token).json()
    assert (weekly["reset"], weekly["reset_day"], weekly["zone"]) == ("weekly", None, "Europe/Berlin")
    assert rig.send("GET", path, token=token).json() == weekly
    plain = rig.send("POST", "/api/v1/nodes", {"name": "m"}, token=token).json()
    assert (plain["reset"], plain["zone"], plain["next_reset_ms"]) == ("never", ZONE, None)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"reset": "sometimes"}, "reset"),
        ({"reset": "weekly", "reset_day": 8}, "reset_day"),
        ({"reset": "monthly", "reset_month": 1}, "reset_month"),
        ({"zone": "Mars/Olympus"}, "zone"),
    ],
)
def test_wrong_periods_of_a_node_are_named_by_field(rig: Rig, fields: dict[str, Any], field: str) -> None:
    token = rig.admin()
    for method, path in (("POST", "/api/v1/nodes"), ("PATCH", f"/api/v1/nodes/{rig.node('there')}")):
        answer = rig.send(method, path, {"name": "n", **fields}, token=token)
        assert answer.status_code == 422
        assert list(answer.json()["fields"]) == [field]


def test_a_used_hour_is_shown_also_when_it_was_closed_by_hand(rig: Rig) -> None:
    ids, token = _world(rig), rig.admin()
    hour = rig.now_ms // HOUR_MS - 3
    row = Moved(hour, UserId(ids["user"]), EndpointId(ids["endpoint"]), 1, 2, 3, 4)
    rig.data.write_now(history.add, [row])
    asked = f"step=hour&from_ms={hour * HOUR_MS}&to_ms={hour * HOUR_MS + 1}"
    shown = rig.send("GET", f"/api/v1/users/{ids['user']}/usage/history?{asked}", token=token).json()
    assert shown["points"] == [
        {"start_ms": hour * HOUR_MS, "up": 1, "down": 2, "billed_up": 3, "billed_down": 4}
    ]
