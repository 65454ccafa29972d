"""Penalties over the API: given once, told to polls at once, lifted, and gone with a restart."""

import asyncio
import time

import httpx
import msgspec
import pytest

from collector.app import users
from collector.app.sessions import note
from collector.domain import refusals
from collector.domain.access import SYSTEM
from collector.domain.presence import News, Turn
from collector.domain.users import UserChanges
from collector.sessions import Sessions
from collector.store.session import Session
from collector.tracker import Tracker
from shared.messages import DesiredState
from shared.names import UserId
from tests.collector.fronts import sightings
from tests.collector.fronts.rig import PENALTY_S, WINDOW_S, Joined, Rig
from tests.collector.fronts.sightings import named


def test_exceeding_over_two_nodes_answers_the_polls_of_both_at_once_and_of_no_third(rig: Rig) -> None:
    nodes = [rig.joined(name) for name in ("berlin", "tokyo", "lima")]
    places = [rig.endpoint(node.id) for node in nodes]
    alice = sightings.limited(rig, "alice", *places[:2], max_concurrent=1)
    salt = sightings.salted(rig, nodes[0])

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

    polled_since = {node.id: sightings.polled(rig, node).generation for node in nodes}
    answers, took_s, third = rig.run(scenario())
    assert [[(one.user, one.for_s) for one in state.penalised] for state in answers] == [
        [(alice, PENALTY_S)],
        [(alice, PENALTY_S)],
    ]
    assert all(state.penalty_mark > 0 and not state.items for state in answers)
    assert took_s < 2
    assert not third
    assert sightings.told(rig, alice) == ["USER_CONNECTED", "USER_PENALISED"]


def test_a_poll_that_knows_the_penalties_waits_and_its_end_is_told_by_the_next(rig: Rig) -> None:
    node = rig.joined()
    alice = sightings.limited(rig, "alice", endpoint := rig.endpoint(node.id), max_concurrent=1)
    salt = sightings.salted(rig, node)
    sightings.post(rig, node, salt, [alice, endpoint, named(1)], [alice, endpoint, named(2)])
    state = sightings.polled(rig, node)
    rig.clock.now_s += 50
    later = sightings.polled(rig, node, state.penalty_mark, state.generation)
    assert later.penalty_mark == state.penalty_mark
    assert [one.for_s for one in later.penalised] == [PENALTY_S - 50]
    began_s = time.monotonic()
    path = (
        f"/api/v1/nodes/{node.id}/configs?since={state.generation}&penalty_mark={state.penalty_mark}&wait=1"
    )
    rig.send("GET", path, token=node.token)
    assert time.monotonic() - began_s > 0.9
    rig.clock.now_s += 70
    over = sightings.polled(rig, node, state.penalty_mark, state.generation)
    assert (over.penalised, over.penalty_mark) == ([], 0)


def test_a_user_put_on_a_node_during_his_penalty_is_penalised_there_too(rig: Rig) -> None:
    first, second = rig.joined("first"), rig.joined("second")
    here, there = rig.endpoint(first.id), rig.endpoint(second.id)
    alice = sightings.limited(rig, "alice", here, max_concurrent=1)
    sightings.post(
        rig,
        first,
        sightings.salted(rig, first),
        [alice, here, named(1)],
        [alice, here, named(2)],
    )
    assert sightings.polled(rig, second).penalised == []
    rig.data.write_now(users.assign, alice, [here, there], SYSTEM, rig.now_ms)
    assert [one.user for one in sightings.polled(rig, second).penalised] == [alice]


def test_a_restart_forgets_penalties_and_who_was_online(rig: Rig) -> None:
    node = rig.joined()
    alice = sightings.limited(rig, "alice", endpoint := rig.endpoint(node.id), max_concurrent=1)
    salt = sightings.salted(rig, node)
    rows = [alice, endpoint, named(1)], [alice, endpoint, named(2)]
    sightings.post(rig, node, salt, *rows)
    assert [one.user for one in sightings.polled(rig, node).penalised] == [alice]
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


def test_an_admin_sees_penalties_by_pages_and_lifts_one(rig: Rig) -> None:
    node, admin = rig.joined(), rig.admin()
    endpoint = rig.endpoint(node.id)
    people = [sightings.limited(rig, f"user-{number}", endpoint, max_concurrent=1) for number in range(3)]
    salt = sightings.salted(rig, node)
    sightings.post(
        rig, node, salt, *([user, endpoint, named(number)] for user in people for number in (1, 2))
    )
    rig.clock.now_s += 20
    first = sightings.shown(rig, admin, "/api/v1/sessions?limit=2")
    assert first["penalised"] == [
        {"user": user, "reason": "sessions", "for_s": PENALTY_S - 20} for user in people[:2]
    ]
    rest = sightings.shown(rig, admin, f"/api/v1/sessions?limit=2&after={first['next']}")
    assert [one["user"] for one in rest["penalised"]] == people[2:]
    assert rest["next"] is None

    mark = sightings.polled(rig, node).penalty_mark
    lifted = people[1]
    for _ in range(2):
        assert rig.send("DELETE", f"/api/v1/users/{lifted}/penalty", token=admin).status_code == 204
    state = sightings.polled(rig, node)
    assert [one.user for one in state.penalised] == [people[0], people[2]]
    assert state.penalty_mark != mark
    assert sightings.told(rig, lifted) == ["USER_CONNECTED", "USER_PENALISED", "PENALTY_LIFTED"]
    assert rig.send("DELETE", "/api/v1/users/99/penalty", token=admin).status_code == 404


def test_a_device_that_is_not_allowed_is_penalised(rig: Rig) -> None:
    node = rig.joined()
    alice = sightings.limited(rig, "alice", endpoint := rig.endpoint(node.id), allowed_devices=("phone",))
    salt = sightings.salted(rig, node)
    sightings.post(rig, node, salt, [alice, endpoint, named(1), "phone"], [alice, endpoint, named(2)])
    assert sightings.polled(rig, node).penalised == []
    sightings.post(rig, node, salt, [alice, endpoint, named(1), "tv"])
    assert [one.user for one in sightings.polled(rig, node).penalised] == [alice]


def test_a_lowered_limit_counts_with_the_next_sighting(rig: Rig) -> None:
    node = rig.joined()
    alice = sightings.limited(rig, "alice", endpoint := rig.endpoint(node.id), max_concurrent=2)
    salt, rows = sightings.salted(rig, node), ([1, 1, named(1)], [1, 1, named(2)])
    assert (alice, endpoint) == (1, 1)
    sightings.post(rig, node, salt, *rows)
    assert sightings.polled(rig, node).penalised == []
    rig.data.write_now(users.change, alice, UserChanges(max_concurrent=1), SYSTEM, rig.now_ms)
    sightings.post(rig, node, salt, *rows)
    assert [one.user for one in sightings.polled(rig, node).penalised] == [alice]


def test_what_the_database_refused_to_note_is_noted_with_the_next_try(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = rig.joined()
    alice = sightings.limited(rig, "alice", endpoint := rig.endpoint(node.id), max_concurrent=1)
    salt = sightings.salted(rig, node)
    body = {
        "salt": salt,
        "rows": [[alice, endpoint, named(1)], [alice, endpoint, named(2)]],
    }

    def full(_session: Session, *_about: object) -> None:
        raise refusals.Refused(refusals.Kind.UNAVAILABLE, "the disk is full")

    monkeypatch.setattr("collector.app.sessions.note", full)
    assert rig.send("POST", "/api/v1/nodes/sessions", body, token=node.token).status_code == 503
    assert [one.user for one in sightings.polled(rig, node).penalised] == [alice]
    monkeypatch.setattr("collector.app.sessions.note", note)
    assert rig.send("POST", "/api/v1/nodes/sessions", body, token=node.token).status_code == 200
    assert sightings.told(rig, alice) == ["USER_CONNECTED", "USER_PENALISED"]


def test_what_waits_to_be_noted_takes_bounded_room(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(_session: Session, *_about: object) -> None:
        raise refusals.Refused(refusals.Kind.UNAVAILABLE, "the disk is full")

    monkeypatch.setattr("collector.app.sessions.note", full)
    monkeypatch.setattr("collector.sessions.MAX_NEWS", 3)
    rig.tracker.news = [News(turn=Turn.CONNECTED, user=UserId(user), at_s=0.0) for user in range(1, 6)]
    with pytest.raises(refusals.Refused):
        rig.run(rig.parts.sessions.tick())
    assert [one.user for one in rig.tracker.news] == [3, 4, 5]
    assert [record.message for record in caplog.records] == ["presence_lost"]
