"""Sessions over the API: counted over nodes, judged, told to polls, written once, gone with a restart."""

import asyncio
import time
from typing import Any

import httpx
import msgspec
import pytest

from collector.app import events, users
from collector.app.sessions import note
from collector.domain import refusals
from collector.domain.access import SYSTEM
from collector.domain.sessions import DAY_MS
from collector.domain.users import User, UserChanges
from collector.sessions import Sessions
from collector.store.session import Session
from collector.tracker import Tracker
from shared.messages import DesiredState, SightingsAnswer
from shared.names import MAX_SIGHTINGS, EndpointId, UserId
from tests.collector.fronts.rig import PENALTY_S, WINDOW_S, Joined, Rig

_MIDNIGHT_MS = 20_000 * DAY_MS


def named(number: int) -> str:
    return f"{number:032x}"


def post(rig: Rig, node: Joined, salt: int, *rows: list[object]) -> SightingsAnswer:
    body = {"salt": salt, "rows": list(rows)}
    answer = rig.send("POST", "/api/v1/nodes/sessions", body, token=node.token)
    assert answer.status_code == 200, answer.text
    return msgspec.json.decode(answer.content, type=SightingsAnswer)


def salted(rig: Rig, node: Joined) -> int:
    return post(rig, node, 0).salt


def limited(rig: Rig, name: str, where: EndpointId, *more: EndpointId, **rules: Any) -> UserId:  # noqa: ANN401 - as changes have them
    user = rig.user(name, where, *more)
    rig.data.write_now(users.change, user, UserChanges(**rules), SYSTEM, rig.now_ms)
    return user


def told(rig: Rig, user: UserId) -> list[str]:
    every = rig.data.read_now(events.page, 0, 1_000)
    kinds = [event.kind for event in every if event.subject == f"user:{user}"]
    return [kind for kind in kinds if kind not in ("USER_CREATED", "USER_CHANGED")]


def stored(rig: Rig, user: UserId) -> User:
    return rig.data.read_now(users.one, user)


def shown(rig: Rig, token: str, path: str) -> Any:  # noqa: ANN401 - JSON
    answer = rig.send("GET", path, token=token)
    assert answer.status_code == 200, answer.text
    return answer.json()


def polled(rig: Rig, node: Joined, mark: int = 0, since: int = 0) -> DesiredState:
    path = f"/api/v1/nodes/{node.id}/configs?since={since}&penalty_mark={mark}"
    return msgspec.json.decode(rig.send("GET", path, token=node.token).content, type=DesiredState)


def test_a_node_learns_the_salt_first_and_rows_of_another_salt_are_not_taken(rig: Rig) -> None:
    node = rig.joined()
    user = rig.user("alice", endpoint := rig.endpoint(node.id))
    first = post(rig, node, 0)
    assert len(first.key) == 32
    assert 0 < first.for_s <= DAY_MS / 1000
    assert not first.taken
    assert not post(rig, node, first.salt + 1, [user, endpoint, named(1)]).taken
    assert rig.tracker.online() == 0
    again = post(rig, node, first.salt, [user, endpoint, named(1)])
    assert again.taken
    assert (again.salt, again.key) == (first.salt, first.key)
    assert rig.tracker.online() == 1


def test_exceeding_over_two_nodes_answers_the_polls_of_both_at_once_and_of_no_third(rig: Rig) -> None:
    nodes = [rig.joined(name) for name in ("berlin", "tokyo", "lima")]
    places = [rig.endpoint(node.id) for node in nodes]
    alice = limited(rig, "alice", *places[:2], max_concurrent=1)
    salt = salted(rig, nodes[0])

    async def ask(node: Joined) -> httpx.Response:
        since = polled_since[node.id]
        return await rig.ask(
            "GET", f"/api/v1/nodes/{node.id}/configs?since={since}&wait=55", token=node.token
        )

    async def scenario() -> tuple[list[DesiredState], float, bool]:
        polls = [asyncio.ensure_future(ask(node)) for node in nodes]
        await rig.until_waiting(3)
        began_s = time.monotonic()
        for node, place, number in ((nodes[0], places[0], 1), (nodes[1], places[1], 2)):
            body = {"salt": salt, "rows": [[alice, place, named(number)]]}
            assert (await rig.ask("POST", "/api/v1/nodes/sessions", body, token=node.token)).is_success
        answers = [msgspec.json.decode((await poll).content, type=DesiredState) for poll in polls[:2]]
        took_s, third = time.monotonic() - began_s, polls[2].done()
        rig.hub.close()
        await polls[2]
        return answers, took_s, third

    polled_since = {node.id: polled(rig, node).generation for node in nodes}
    answers, took_s, third = rig.run(scenario())
    assert [[(one.user, one.for_s) for one in state.penalised] for state in answers] == [
        [(alice, PENALTY_S)],
        [(alice, PENALTY_S)],
    ]
    assert all(state.penalty_mark > 0 and not state.items for state in answers)
    assert took_s < 2
    assert not third
    assert told(rig, alice) == ["USER_CONNECTED", "USER_PENALISED"]


def test_two_connections_behind_one_address_are_one_session(rig: Rig) -> None:
    node = rig.joined()
    ways = rig.endpoint(node.id), rig.endpoint(node.id, 444)
    alice = limited(rig, "alice", *ways, max_concurrent=1)
    salt = salted(rig, node)
    for _ in range(3):
        post(rig, node, salt, *([alice, way, named(1)] for way in ways))
    assert polled(rig, node).penalised == []
    view = shown(rig, rig.admin(), f"/api/v1/users/{alice}/sessions")
    assert view["sessions"] == 1
    assert view["endpoints"] == [{"endpoint": way, "sessions": 1} for way in ways]


def test_a_poll_that_knows_the_penalties_waits_and_its_end_is_told_by_the_next(rig: Rig) -> None:
    node = rig.joined()
    alice = limited(rig, "alice", endpoint := rig.endpoint(node.id), max_concurrent=1)
    salt = salted(rig, node)
    post(rig, node, salt, [alice, endpoint, named(1)], [alice, endpoint, named(2)])
    state = polled(rig, node)
    rig.clock.now_s += 50
    later = polled(rig, node, state.penalty_mark, state.generation)
    assert later.penalty_mark == state.penalty_mark
    assert [one.for_s for one in later.penalised] == [PENALTY_S - 50]
    began_s = time.monotonic()
    path = (
        f"/api/v1/nodes/{node.id}/configs?since={state.generation}&penalty_mark={state.penalty_mark}&wait=1"
    )
    rig.send("GET", path, token=node.token)
    assert time.monotonic() - began_s > 0.9
    rig.clock.now_s += 70
    over = polled(rig, node, state.penalty_mark, state.generation)
    assert (over.penalised, over.penalty_mark) == ([], 0)


def test_a_user_put_on_a_node_during_his_penalty_is_penalised_there_too(rig: Rig) -> None:
    first, second = rig.joined("first"), rig.joined("second")
    here, there = rig.endpoint(first.id), rig.endpoint(second.id)
    alice = limited(rig, "alice", here, max_concurrent=1)
    post(rig, first, salted(rig, first), [alice, here, named(1)], [alice, here, named(2)])
    assert polled(rig, second).penalised == []
    rig.data.write_now(users.assign, alice, [here, there], SYSTEM, rig.now_ms)
    assert [one.user for one in polled(rig, second).penalised] == [alice]


def test_a_restart_forgets_penalties_and_who_was_online(rig: Rig) -> None:
    node = rig.joined()
    alice = limited(rig, "alice", endpoint := rig.endpoint(node.id), max_concurrent=1)
    salt = salted(rig, node)
    rows = [alice, endpoint, named(1)], [alice, endpoint, named(2)]
    post(rig, node, salt, *rows)
    assert [one.user for one in polled(rig, node).penalised] == [alice]
    fresh = Sessions(
        rig.data,
        rig.hub,
        Tracker(window_s=WINDOW_S, penalty_s=PENALTY_S),
        now_ms=lambda: rig.clock.now_ms,
        now_s=lambda: rig.clock.now_s,
    )
    assert fresh.penalties() == {}
    assert fresh.counts().online == 0
    state = rig.run(fresh.penalised(node.id, DesiredState(generation=1, full=False, items=[])))
    assert state.penalised == []


def test_the_salt_changes_at_midnight_and_nobody_counts_double(rig: Rig) -> None:
    berlin, tokyo = rig.joined("berlin"), rig.joined("tokyo")
    ways = rig.endpoint(berlin.id), rig.endpoint(tokyo.id)
    alice = limited(rig, "alice", *ways, max_concurrent=2)
    rig.clock.now_ms = _MIDNIGHT_MS - 3_000
    before = post(rig, berlin, 0)
    assert before.for_s == 3.0
    post(rig, berlin, before.salt, [alice, ways[0], named(1)])
    post(rig, tokyo, before.salt, [alice, ways[1], named(2)])
    rig.clock.now_ms += 4_000
    rig.clock.now_s += 4
    after = post(rig, berlin, before.salt, [alice, ways[0], named(1)])
    assert after.taken  # it was under way
    assert after.salt != before.salt
    assert after.key != before.key
    post(rig, berlin, after.salt, [alice, ways[0], named(91)])
    assert rig.parts.sessions.counts([alice]).sessions == 2
    post(rig, tokyo, after.salt, [alice, ways[1], named(92)])
    assert rig.parts.sessions.counts([alice]).sessions == 2
    assert polled(rig, berlin).penalised == []
    rig.clock.now_s += WINDOW_S
    assert not post(rig, tokyo, before.salt, [alice, ways[1], named(2)]).taken
    post(rig, tokyo, after.salt, [alice, ways[1], named(92)], [alice, ways[1], named(93)])
    post(rig, berlin, after.salt, [alice, ways[0], named(91)])
    assert [one.user for one in polled(rig, tokyo).penalised] == [alice]


def test_coming_and_going_is_written_once_however_often_a_user_is_seen(rig: Rig) -> None:
    node = rig.joined()
    alice = rig.user("alice", endpoint := rig.endpoint(node.id))
    salt = salted(rig, node)
    rig.clock.now_ms = came_ms = rig.now_ms + 1_000
    salt = salted(rig, node)
    for _ in range(5):
        post(rig, node, salt, [alice, endpoint, named(1)])
        rig.clock.now_s += 5
        rig.clock.now_ms += 5_000
    assert told(rig, alice) == ["USER_CONNECTED"]
    user = stored(rig, alice)
    assert (user.first_connected_ms, user.last_connected_ms) == (came_ms, came_ms)
    rig.clock.now_s += WINDOW_S
    rig.clock.now_ms += 30_000
    rig.run(rig.parts.sessions.tick())
    assert told(rig, alice) == ["USER_CONNECTED", "USER_DISCONNECTED"]
    user = stored(rig, alice)
    assert (user.first_connected_ms, user.last_connected_ms) == (came_ms, came_ms + 20_000)
    post(rig, node, salted(rig, node), [alice, endpoint, named(1)])
    assert stored(rig, alice).first_connected_ms == came_ms


def test_an_admin_sees_counts_and_places_and_never_a_hash(rig: Rig) -> None:
    node, admin = rig.joined(), rig.admin()
    endpoint = rig.endpoint(node.id)
    alice, bob = limited(rig, "alice", endpoint, max_concurrent=2), rig.user("bob", endpoint)
    salt = salted(rig, node)
    berlin = ["DE", "Berlin", "Example Net"]
    rows = [[alice, endpoint, named(0xABCDEF0123), "phone", berlin], [alice, endpoint, named(2), None, None]]
    post(rig, node, salt, *rows, [bob, endpoint, named(3)])
    rig.clock.now_s += 7
    answer = rig.send("GET", f"/api/v1/users/{alice}/sessions", token=admin)
    assert "abcdef0123" not in answer.text
    view = answer.json()
    assert (view["online"], view["sessions"], view["max_concurrent"], view["online_s"]) == (True, 2, 2, 7.0)
    assert view["places"] == [
        {"country": None, "city": None, "isp": None, "sessions": 1},
        {"country": "DE", "city": "Berlin", "isp": "Example Net", "sessions": 1},
    ]
    assert view["penalty"] is None
    totals = shown(rig, admin, "/api/v1/sessions")
    assert totals == {"online_users": 2, "sessions": 3, "penalised": [], "next": None}
    nobody = shown(rig, admin, f"/api/v1/users/{rig.user('carol', endpoint)}/sessions")
    assert (nobody["online"], nobody["sessions"], nobody["online_s"]) == (False, 0, None)


def test_an_admin_sees_penalties_by_pages_and_lifts_one(rig: Rig) -> None:
    node, admin = rig.joined(), rig.admin()
    endpoint = rig.endpoint(node.id)
    people = [limited(rig, f"user-{number}", endpoint, max_concurrent=1) for number in range(3)]
    salt = salted(rig, node)
    post(rig, node, salt, *([user, endpoint, named(number)] for user in people for number in (1, 2)))
    rig.clock.now_s += 20
    first = shown(rig, admin, "/api/v1/sessions?limit=2")
    assert first["penalised"] == [
        {"user": user, "reason": "sessions", "for_s": PENALTY_S - 20} for user in people[:2]
    ]
    rest = shown(rig, admin, f"/api/v1/sessions?limit=2&after={first['next']}")
    assert [one["user"] for one in rest["penalised"]] == people[2:]
    assert rest["next"] is None

    mark = polled(rig, node).penalty_mark
    lifted = people[1]
    for _ in range(2):
        assert rig.send("DELETE", f"/api/v1/users/{lifted}/penalty", token=admin).status_code == 204
    state = polled(rig, node)
    assert [one.user for one in state.penalised] == [people[0], people[2]]
    assert state.penalty_mark != mark
    assert told(rig, lifted) == ["USER_CONNECTED", "USER_PENALISED", "PENALTY_LIFTED"]
    assert rig.send("DELETE", "/api/v1/users/99/penalty", token=admin).status_code == 404


def test_a_device_that_is_not_allowed_is_penalised(rig: Rig) -> None:
    node = rig.joined()
    alice = limited(rig, "alice", endpoint := rig.endpoint(node.id), allowed_devices=("phone",))
    salt = salted(rig, node)
    post(rig, node, salt, [alice, endpoint, named(1), "phone"], [alice, endpoint, named(2)])
    assert polled(rig, node).penalised == []
    post(rig, node, salt, [alice, endpoint, named(1), "tv"])
    assert [one.user for one in polled(rig, node).penalised] == [alice]


def test_limits_are_fields_of_the_user(rig: Rig) -> None:
    admin = rig.admin()
    body = {"name": "alice", "max_concurrent": 2, "allowed_devices": ["phone", "desk"]}
    made = rig.send("POST", "/api/v1/users", body, token=admin).json()
    assert (made["max_concurrent"], made["allowed_devices"]) == (2, ["phone", "desk"])
    path = f"/api/v1/users/{made['id']}"
    kept = rig.send("PATCH", path, {"quota_bytes": 5}, token=admin).json()
    assert (kept["max_concurrent"], kept["allowed_devices"]) == (2, ["phone", "desk"])
    freed: dict[str, object] = {"max_concurrent": None, "allowed_devices": []}
    assert rig.send("PATCH", path, freed, token=admin).is_success
    seen = shown(rig, admin, path)
    assert (seen["max_concurrent"], seen["allowed_devices"]) == (None, [])
    wrong = {"max_concurrent": 0, "allowed_devices": [""]}
    for method, where, more in (("PATCH", path, {}), ("POST", "/api/v1/users", {"name": "bob"})):
        refused = rig.send(method, where, {**more, **wrong}, token=admin)
        assert refused.status_code == 422
        assert set(refused.json()["fields"]) == {"max_concurrent", "allowed_devices"}


def test_a_lowered_limit_counts_with_the_next_sighting(rig: Rig) -> None:
    node = rig.joined()
    alice = limited(rig, "alice", endpoint := rig.endpoint(node.id), max_concurrent=2)
    salt, rows = salted(rig, node), ([1, 1, named(1)], [1, 1, named(2)])
    assert (alice, endpoint) == (1, 1)
    post(rig, node, salt, *rows)
    assert polled(rig, node).penalised == []
    rig.data.write_now(users.change, alice, UserChanges(max_concurrent=1), SYSTEM, rig.now_ms)
    post(rig, node, salt, *rows)
    assert [one.user for one in polled(rig, node).penalised] == [alice]


def test_a_node_counts_nobody_who_is_not_placed_on_it(rig: Rig) -> None:
    berlin, tokyo = rig.joined("berlin"), rig.joined("tokyo")
    here, there = rig.endpoint(berlin.id), rig.endpoint(tokyo.id)
    alice = limited(rig, "alice", here, max_concurrent=1)
    salt = salted(rig, berlin)
    nobody = [2**62, here, named(1)], [0, here, named(1)], [77, here, named(1)]
    post(rig, tokyo, salt, [alice, here, named(1)], [alice, there, named(2)], *nobody)
    post(rig, berlin, salt, [alice, here, named(3)], *nobody)
    post(rig, tokyo, salt, [alice, here, named(1)])
    assert rig.parts.sessions.counts().sessions == 1
    assert polled(rig, berlin).penalised == []


def test_what_the_database_refused_to_note_is_noted_with_the_next_try(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = rig.joined()
    alice = limited(rig, "alice", endpoint := rig.endpoint(node.id), max_concurrent=1)
    salt = salted(rig, node)
    body = {"salt": salt, "rows": [[alice, endpoint, named(1)], [alice, endpoint, named(2)]]}

    def full(_session: Session, *_about: object) -> None:
        raise refusals.Refused(refusals.Kind.UNAVAILABLE, "the disk is full")

    monkeypatch.setattr("collector.app.sessions.note", full)
    assert rig.send("POST", "/api/v1/nodes/sessions", body, token=node.token).status_code == 503
    assert [one.user for one in polled(rig, node).penalised] == [alice]
    monkeypatch.setattr("collector.app.sessions.note", note)
    assert rig.send("POST", "/api/v1/nodes/sessions", body, token=node.token).status_code == 200
    assert told(rig, alice) == ["USER_CONNECTED", "USER_PENALISED"]


def test_a_body_that_no_agent_sends_is_refused_in_words_without_its_values(rig: Rig) -> None:
    node = rig.joined()
    row = [1, 1, named(1)]
    bodies: tuple[dict[str, object], ...] = (
        {"rows": []},
        {"salt": 1, "rows": [["198.51.100.7", 1, named(1)]]},
        {"salt": 1, "rows": [[1, 1]]},
        {"salt": 1, "rows": [row] * (MAX_SIGHTINGS + 1)},
    )
    for body in bodies:
        answer = rig.send("POST", "/api/v1/nodes/sessions", body, token=node.token)
        assert answer.status_code == 400
        assert "198.51.100.7" not in answer.text
    broken = rig.send(
        "POST",
        "/api/v1/nodes/sessions",
        content=b"\xff{",
        headers={"content-type": "application/json"},
        token=node.token,
    )
    assert broken.status_code == 400
