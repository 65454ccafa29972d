"""Periods, starts and ends over the API: shown as they are asked for, wrong ones named by field."""

from typing import Any

import pytest

from tests.collector.fronts.rig import ZONE, Rig

PATH = "/api/v1/users"


def test_a_user_shows_his_times_under_the_names_by_which_they_are_set(rig: Rig) -> None:
    token = rig.admin()
    times: dict[str, Any] = {
        "reset": "yearly",
        "reset_anchor": "calendar",
        "reset_day": 29,
        "reset_month": 2,
        "zone": "Europe/Berlin",
        "duration_s": 86_400,
        "start_at_ms": 1_700_000_000_000,
    }
    created = rig.send("POST", PATH, {"name": "ada", **times}, token=token)
    assert created.status_code == 201
    shown = rig.send("GET", f"{PATH}/{created.json()['id']}", token=token).json()
    assert shown == created.json()
    assert {field: shown[field] for field in times} == times
    assert (shown["status"], shown["expires_ms"]) == ("expired", 1_700_086_400_000)
    assert rig.send("GET", PATH, token=token).json()["users"] == [shown]


def test_a_user_without_a_zone_gets_the_collectors_and_never_resets(rig: Rig) -> None:
    shown = rig.send("POST", PATH, {"name": "ada"}, token=rig.admin()).json()
    assert (shown["reset"], shown["reset_anchor"], shown["zone"]) == ("never", "calendar", ZONE)
    assert (shown["next_reset_ms"], shown["duration_s"], shown["started_ms"]) == (None, None, None)


def test_the_usage_shows_both_counters_and_all_times(rig: Rig) -> None:
    token = rig.admin()
    user = rig.send("POST", PATH, {"name": "ada", "reset": "monthly"}, token=token).json()["id"]
    usage = rig.send("GET", f"{PATH}/{user}/usage", token=token).json()
    assert (usage["total"], usage["life_up"], usage["life_down"]) == (0, 0, 0)
    assert usage["period_start_ms"] <= rig.now_ms < usage["next_reset_ms"]
    assert (usage["started_ms"], usage["expires_ms"]) == (None, None)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"reset": "fortnightly"}, "reset"),
    ({"reset_anchor": "moon"}, "reset_anchor"),
    ({"reset": "weekly", "reset_day": 8}, "reset_day"),
    ({"reset": "monthly", "reset_day": 0}, "reset_day"),
    ({"reset": "daily", "reset_day": 1}, "reset_day"),
    ({"reset": "monthly", "reset_anchor": "activation", "reset_day": 5}, "reset_day"),
    ({"reset": "yearly", "reset_month": 13}, "reset_month"),
    ({"reset": "yearly", "reset_month": 2, "reset_day": 30}, "reset_day"),
    ({"zone": "Mars/Olympus"}, "zone"),
    ({"zone": ""}, "zone"),
    ({"zone": "../../etc/passwd"}, "zone"),
    ({"duration_s": 0}, "duration_s"),
    ({"duration_s": 10**15}, "duration_s"),
    ({"start_at_ms": 1_700_000_000}, "start_at_ms"),
    ({"start_at_ms": 10**16}, "start_at_ms"),
]


@pytest.mark.parametrize(("fields", "wrong"), WRONG, ids=str)
def test_a_wrong_time_of_a_new_or_an_old_user_is_named(rig: Rig, fields: dict[str, Any], wrong: str) -> None:
    token, user = rig.admin(), rig.user("bob")
    for answer in (
        rig.send("POST", PATH, {"name": "ada", **fields}, token=token),
        rig.send("PATCH", f"{PATH}/{user}", fields, token=token),
    ):
        assert answer.status_code == 422
        assert set(answer.json()["fields"]) == {wrong}


def test_all_wrong_times_are_named_at_once(rig: Rig) -> None:
    body = {"name": "", "reset": "weekly", "reset_day": 9, "zone": "x", "duration_s": -1, "start_at_ms": 1}
    fields = rig.send("POST", PATH, body, token=rig.admin()).json()["fields"]
    assert set(fields) == {"name", "reset_day", "zone", "duration_s", "start_at_ms"}


def test_a_new_mode_does_not_keep_the_day_of_the_old_one_and_other_changes_do(rig: Rig) -> None:
    token = rig.admin()
    body = {"name": "ada", "reset": "monthly", "reset_day": 31, "zone": "Asia/Tehran", "duration_s": 60}
    path = f"{PATH}/{rig.send('POST', PATH, body, token=token).json()['id']}"
    later = rig.send("PATCH", path, {"duration_s": None, "zone": "UTC"}, token=token).json()
    assert (later["reset_day"], later["duration_s"], later["zone"]) == (31, None, "UTC")
    weekly = rig.send("PATCH", path, {"reset": "weekly"}, token=token).json()
    assert (weekly["reset"], weekly["reset_day"]) == ("weekly", None)
