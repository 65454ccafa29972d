"""Events over HTTP: filters, the audit, a user's stream, events as they happen; and no change without one."""

from typing import Any

import msgspec
import pytest

from collector.app import events, users
from collector.domain.access import SYSTEM
from collector.domain.events import Recorded
from collector.fronts.rest import table
from collector.fronts.rest.routes import Route
from shared.names import UserId
from tests.collector import state
from tests.collector.fronts import rig as made
from tests.collector.fronts import test_routes
from tests.collector.fronts.rig import Rig

#: Nobody has a penalty here that could be lifted.
_LIFT = "DELETE /api/v1/users/{id}/penalty"


def _name(route: Route) -> str:
    return f"{route.method} {route.path}"


@pytest.mark.parametrize("route", table.ROUTES, ids=_name)
def test_no_route_changes_state_without_an_event(rig: Rig, route: Route) -> None:
    case, world = test_routes.CASES[_name(route)], test_routes.world(rig)
    before, told = rig.data.read_now(state.of), rig.data.read_now(events.newest)
    caller = "node" if case.admin == 403 else "admin"
    answer = world.ask(route, case, caller)
    grew = rig.data.read_now(events.newest) > told
    assert grew or rig.data.read_now(state.of) == before, "the state has changed without an event"
    by_admins = route.method != "GET" and caller == "admin" and not route.public and _name(route) != _LIFT
    assert grew or not by_admins or answer.is_error, "an admin has done something and it is not told"


def _world(rig: Rig) -> tuple[str, UserId]:
    admin = rig.admin()
    return admin, rig.user("someone", rig.endpoint(rig.joined().id))


def _get(rig: Rig, token: str, path: str) -> Any:  # noqa: ANN401 - what JSON may be
    answer = rig.send("GET", f"/api/v1{path}", token=token)
    assert answer.is_success, answer.text
    return answer.json()


def test_events_are_filtered_and_paged(rig: Rig) -> None:
    token, user = _world(rig)
    for quota in range(3):
        rig.send("PATCH", f"/api/v1/users/{user}", {"quota_bytes": quota}, token=token)
    changes = _get(rig, token, f"/events?subject=user:{user}&kind=USER_CHANGED&actor=admin:1&limit=2")
    assert len(changes["events"]) == 2
    rest = _get(rig, token, f"/events?kind=USER_CHANGED&after={changes['next']}&limit=2")
    assert (len(rest["events"]), rest["next"]) == (1, None)
    assert not _get(rig, token, "/events?to_ms=1")["events"]
    assert not _get(rig, token, f"/events?from_ms={10**14}")["events"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("kind=user_changed", "kind"),
        ("kind=", "kind"),
        ("subject=user", "subject"),
        ("subject=user:x", "subject"),
        ("actor=admin:1'--", "actor"),
        ("from_ms=-1", "from_ms"),
        ("person=1", "person"),
    ],
)
def test_a_wrong_filter_is_named(rig: Rig, query: str, field: str) -> None:
    answer = rig.send("GET", f"/api/v1/events?{query}", token=rig.admin())
    assert answer.status_code == 400
    assert list(answer.json()["fields"]) == [field]


def test_the_audit_names_the_admin_and_shows_fields_before_and_after(rig: Rig) -> None:
    token, user = _world(rig)
    rig.send("PATCH", f"/api/v1/users/{user}", {"quota_bytes": 5}, token=token)
    (entry,) = _get(rig, token, "/audit?actor=admin:1")["entries"]
    assert (entry["name"], entry["action"], entry["subject"]) == ("root", "USER_CHANGED", f"user:{user}")
    assert entry["details"]["changes"]["quota_bytes"] == {"before": None, "after": 5}


def test_a_users_stream_is_paged_by_its_cursor(rig: Rig) -> None:
    token, user = _world(rig)
    rig.send("PATCH", f"/api/v1/users/{user}", {"quota_bytes": 5}, token=token)
    first = _get(rig, token, f"/users/{user}/events?limit=1")
    assert [one["kind"] for one in first["events"]] == ["USER_CREATED"]
    rest = _get(rig, token, f"/users/{user}/events?after={first['next']}")
    assert [one["kind"] for one in rest["events"]] == ["USER_CHANGED"]
    assert rest["next"] is None
    assert rig.send("GET", f"/api/v1/users/{user}/events?after=1", token=token).status_code == 400
    assert rig.send("GET", "/api/v1/users/999/events", token=token).status_code == 404


# --- as they happen ----------------------------------------------------------------------------------------


def _lines(text: str) -> list[Recorded]:
    data = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: {")]
    return [msgspec.json.decode(one, type=Recorded) for one in data]


async def _read(after: int, limit: int, rig: Rig) -> list[Recorded]:
    return await rig.data.read(events.page, after, limit)


def test_a_stream_gives_what_was_missed_and_then_what_happens(rig: Rig) -> None:
    token, user = _world(rig)
    seen = rig.data.read_now(events.newest)
    rig.send("PATCH", f"/api/v1/users/{user}", {"quota_bytes": 5}, token=token)

    async def scenario() -> str:
        path = f"/api/v1/events/stream?after={seen}&wait=55&kind=USER_CHANGED"
        listening = made.together(rig.ask("GET", path, token=token), _happen())
        return str((await listening)[0].text)

    async def _happen() -> Any:  # noqa: ANN401 - no answer
        await made.until(lambda: len(rig.parts.receivers.all()) == 1)
        await rig.ask("PATCH", f"/api/v1/users/{user}", {"quota_bytes": 6}, token=token)
        await rig.ask("DELETE", f"/api/v1/users/{user}", token=token)
        await rig.parts.receivers.look(lambda after, limit: _read(after, limit, rig))
        await made.until(lambda: not any(one.waiting for one in rig.parts.receivers.all()))
        rig.parts.receivers.close()

    found = _lines(rig.run(scenario()))
    assert [one.kind for one in found] == ["USER_CHANGED", "USER_CHANGED"]
    numbers = [one.number for one in found]
    assert numbers == sorted(set(numbers))


def test_a_stream_ends_when_the_admins_token_is_void(rig: Rig) -> None:
    token, user = _world(rig)

    async def scenario() -> str:
        path = "/api/v1/events/stream?wait=55"
        return str((await made.together(rig.ask("GET", path, token=token), _void()))[0].text)

    async def _void() -> Any:  # noqa: ANN401 - no answer
        await made.until(lambda: len(rig.parts.receivers.all()) == 1)
        await rig.data.write(lambda session: session.run("UPDATE admin SET credential = credential + 1"))
        await rig.data.write(users.remove, user, SYSTEM, rig.now_ms)
        await rig.parts.receivers.look(lambda after, limit: _read(after, limit, rig))

    assert _lines(rig.run(scenario())) == []
