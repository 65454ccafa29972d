"""Sessions over the API: counted over nodes, shown as counts, written down once, never doubled by a salt."""

from collector.domain.sessions import DAY_MS
from shared.names import MAX_SIGHTINGS
from tests.collector.fronts import sightings
from tests.collector.fronts.rig import WINDOW_S, Rig
from tests.collector.fronts.sightings import named

_MIDNIGHT_MS = 20_000 * DAY_MS


def test_a_node_learns_the_salt_first_and_rows_of_another_salt_are_not_taken(rig: Rig) -> None:
    node = rig.joined()
    user = rig.user("alice", endpoint := rig.endpoint(node.id))
    first = sightings.post(rig, node, 0)
    assert len(first.key) == 32
    assert 0 < first.for_s <= DAY_MS / 1000
    assert not first.taken
    assert not sightings.post(rig, node, first.salt + 1, [user, endpoint, named(1)]).taken
    assert rig.tracker.online() == 0
    again = sightings.post(rig, node, first.salt, [user, endpoint, named(1)])
    assert again.taken
    assert (again.salt, again.key) == (first.salt, first.key)
    assert rig.tracker.online() == 1


def test_two_connections_behind_one_address_are_one_session(rig: Rig) -> None:
    node = rig.joined()
    ways = rig.endpoint(node.id), rig.endpoint(node.id, 444)
    alice = sightings.limited(rig, "alice", *ways, max_concurrent=1)
    salt = sightings.salted(rig, node)
    for _ in range(3):
        sightings.post(rig, node, salt, *([alice, way, named(1)] for way in ways))
    assert sightings.polled(rig, node).penalised == []
    view = sightings.shown(rig, rig.admin(), f"/api/v1/users/{alice}/sessions")
    assert view["sessions"] == 1
    assert view["endpoints"] == [{"endpoint": way, "sessions": 1} for way in ways]


def test_the_salt_changes_at_midnight_and_nobody_counts_double(rig: Rig) -> None:
    berlin, tokyo = rig.joined("berlin"), rig.joined("tokyo")
    ways = rig.endpoint(berlin.id), rig.endpoint(tokyo.id)
    alice = sightings.limited(rig, "alice", *ways, max_concurrent=2)
    rig.clock.now_ms = _MIDNIGHT_MS - 3_000
    before = sightings.post(rig, berlin, 0)
    assert before.for_s == 3.0
    sightings.post(rig, berlin, before.salt, [alice, ways[0], named(1)])
    sightings.post(rig, tokyo, before.salt, [alice, ways[1], named(2)])
    rig.clock.now_ms += 4_000
    rig.clock.now_s += 4
    after = sightings.post(rig, berlin, before.salt, [alice, ways[0], named(1)])
    assert after.taken  # it was under way
    assert after.salt != before.salt
    assert after.key != before.key
    sightings.post(rig, berlin, after.salt, [alice, ways[0], named(91)])
    assert rig.parts.sessions.counts([alice]).sessions == 2
    sightings.post(rig, tokyo, after.salt, [alice, ways[1], named(92)])
    assert rig.parts.sessions.counts([alice]).sessions == 2
    assert sightings.polled(rig, berlin).penalised == []
    rig.clock.now_s += WINDOW_S
    assert not sightings.post(rig, tokyo, before.salt, [alice, ways[1], named(2)]).taken
    sightings.post(rig, tokyo, after.salt, [alice, ways[1], named(92)], [alice, ways[1], named(93)])
    sightings.post(rig, berlin, after.salt, [alice, ways[0], named(91)])
    assert [one.user for one in sightings.polled(rig, tokyo).penalised] == [alice]


def test_coming_and_going_is_written_once_however_often_a_user_is_seen(rig: Rig) -> None:
    node = rig.joined()
    alice = rig.user("alice", endpoint := rig.endpoint(node.id))
    rig.clock.now_ms = came_ms = rig.now_ms + 1_000
    salt = sightings.salted(rig, node)
    for _ in range(5):
        sightings.post(rig, node, salt, [alice, endpoint, named(1)])
        rig.clock.now_s += 5
        rig.clock.now_ms += 5_000
    assert sightings.told(rig, alice) == ["USER_CONNECTED"]
    user = sightings.stored(rig, alice)
    assert (user.first_connected_ms, user.last_connected_ms) == (came_ms, came_ms)
    rig.clock.now_s += WINDOW_S
    rig.clock.now_ms += 30_000
    rig.run(rig.parts.sessions.tick())
    assert sightings.told(rig, alice) == ["USER_CONNECTED", "USER_DISCONNECTED"]
    user = sightings.stored(rig, alice)
    assert (user.first_connected_ms, user.last_connected_ms) == (came_ms, came_ms + 20_000)
    sightings.post(rig, node, sightings.salted(rig, node), [alice, endpoint, named(1)])
    assert sightings.stored(rig, alice).first_connected_ms == came_ms


def test_an_admin_sees_counts_and_places_and_never_a_hash(rig: Rig) -> None:
    node, admin = rig.joined(), rig.admin()
    endpoint = rig.endpoint(node.id)
    alice, bob = sightings.limited(rig, "alice", endpoint, max_concurrent=2), rig.user("bob", endpoint)
    salt = sightings.salted(rig, node)
    berlin = ["DE", "Berlin", "Example Net"]
    rows = [
        [alice, endpoint, named(0xABCDEF0123), "phone", berlin],
        [alice, endpoint, named(2), None, None],
    ]
    sightings.post(rig, node, salt, *rows, [bob, endpoint, named(3)])
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
    totals = sightings.shown(rig, admin, "/api/v1/sessions")
    assert totals == {"online_users": 2, "sessions": 3, "penalised": [], "next": None}
    nobody = sightings.shown(rig, admin, f"/api/v1/users/{rig.user('carol', endpoint)}/sessions")
    assert (nobody["online"], nobody["sessions"], nobody["online_s"]) == (False, 0, None)


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
    seen = sightings.shown(rig, admin, path)
    assert (seen["max_concurrent"], seen["allowed_devices"]) == (None, [])
    wrong = {"max_concurrent": 0, "allowed_devices": [""]}
    for method, where, more in (("PATCH", path, {}), ("POST", "/api/v1/users", {"name": "bob"})):
        refused = rig.send(method, where, {**more, **wrong}, token=admin)
        assert refused.status_code == 422
        assert set(refused.json()["fields"]) == {"max_concurrent", "allowed_devices"}


def test_a_node_counts_nobody_who_is_not_placed_on_it(rig: Rig) -> None:
    berlin, tokyo = rig.joined("berlin"), rig.joined("tokyo")
    here, there = rig.endpoint(berlin.id), rig.endpoint(tokyo.id)
    alice = sightings.limited(rig, "alice", here, max_concurrent=1)
    salt = sightings.salted(rig, berlin)
    nobody = [2**62, here, named(1)], [0, here, named(1)], [77, here, named(1)]
    sightings.post(rig, tokyo, salt, [alice, here, named(1)], [alice, there, named(2)], *nobody)
    sightings.post(rig, berlin, salt, [alice, here, named(3)], *nobody)
    sightings.post(rig, tokyo, salt, [alice, here, named(1)])
    assert rig.parts.sessions.counts().sessions == 1
    assert sightings.polled(rig, berlin).penalised == []


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
