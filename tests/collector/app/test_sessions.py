"""What the books say of sessions: who is placed where, by which rules, and when he was connected."""

from collector.app import sessions
from collector.domain.presence import News, Turn
from collector.domain.sessions import Rules
from shared.names import MAX_ID, EndpointId, NodeId, UserId
from tests.collector.app.fleet import NOW_MS, Fleet


def test_who_is_placed_on_a_node_is_told_by_his_endpoints(fleet: Fleet) -> None:
    alice, bob = fleet.user(1), fleet.user(2)
    asked = [alice.id, bob.id, UserId(77), UserId(0), UserId(MAX_ID + 1), UserId(2**62)]
    placed = fleet.db.read_now(sessions.placed, fleet.node.id, asked)
    assert sorted(placed) == [(alice.id, fleet.endpoint.id), (bob.id, fleet.endpoint.id)]
    assert fleet.db.read_now(sessions.placed, NodeId(fleet.node.id + 1), asked) == []
    assert fleet.db.read_now(sessions.placed, fleet.node.id, []) == []
    assert fleet.db.read_now(sessions.nodes, [alice.id, UserId(77)]) == {fleet.node.id}
    assert fleet.db.read_now(sessions.nodes, [UserId(77)]) == frozenset()


def test_only_users_who_have_rules_are_told(fleet: Fleet) -> None:
    free, limited = fleet.user(1), fleet.user(2, max_concurrent=3)
    choosy = fleet.user(3, allowed_devices=("phone", "dësk"))
    found = fleet.db.read_now(sessions.rules, [free.id, limited.id, choosy.id, UserId(77)])
    assert sorted(found, key=lambda one: one.user) == [
        Rules(user=limited.id, max_concurrent=3),
        Rules(user=choosy.id, max_concurrent=None, allowed_devices=("phone", "dësk")),
    ]
    fleet.change(limited, NOW_MS, max_concurrent=None)
    assert fleet.db.read_now(sessions.rules, [limited.id]) == []


def test_coming_and_going_moves_the_first_and_the_last_connection(fleet: Fleet) -> None:
    alice = fleet.user(1)
    assert (alice.first_connected_ms, alice.last_connected_ms) == (None, None)
    place = {"endpoint": EndpointId(1), "country": None}
    offence = {"reason": "sessions", "sessions": 3, "max_concurrent": 2, "for_s": 120.0}
    came = News(turn=Turn.CONNECTED, user=alice.id, at_s=100.0, data=place)
    fleet.db.write_now(sessions.note, [came], NOW_MS, 100.0)
    went = News(turn=Turn.DISCONNECTED, user=alice.id, at_s=160.0, data={"online_s": 60})
    penalised = News(turn=Turn.PENALISED, user=alice.id, at_s=170.0, data=offence)
    fleet.db.write_now(sessions.note, [went, penalised], NOW_MS + 90_000, 190.0)
    seen = fleet.seen(alice)
    assert (seen.first_connected_ms, seen.last_connected_ms) == (NOW_MS, NOW_MS + 60_000)
    assert fleet.told(alice) == ["USER_CONNECTED", "USER_DISCONNECTED", "USER_PENALISED"]
