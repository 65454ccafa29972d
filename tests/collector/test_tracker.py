"""Who is connected and who is penalised: two nodes summed, floods bounded, one penalty at a time."""

import tracemalloc
from collections.abc import Iterable

import pytest

from collector.domain.access import Actor, Role
from collector.domain.presence import Counts, Turn
from collector.domain.sessions import KEPT, Rules
from collector.tracker import Tracker
from shared.messages import Place, Sighting
from shared.names import EndpointId, NodeId, UserId

WINDOW_S, PENALTY_S = 30.0, 120.0
BERLIN, TOKYO = NodeId(1), NodeId(2)
ALICE, BOB = UserId(1), UserId(2)
SALT = 7


def row(user: int, number: int, endpoint: int = 1, **more: object) -> Sighting:
    return Sighting(UserId(user), EndpointId(endpoint), f"{number:032x}", **more)  # type: ignore[arg-type]  # as Sighting has them


@pytest.fixture
def tracker() -> Tracker:
    return Tracker(window_s=WINDOW_S, penalty_s=PENALTY_S)


def sight(
    tracker: Tracker, rows: Iterable[Sighting], now_s: float = 0.0, node: NodeId = BERLIN, salt: int = SALT
) -> set[UserId]:
    """Tell rows of a node whose endpoint has its number, and on which everybody is placed."""
    tracker.advance(now_s)
    taken = tracker.see(node, salt, rows, now_s)
    placed = [(one.user, one.endpoint) for one in taken.strangers if int(one.endpoint) == int(node)]
    return taken.suspects | tracker.admit(node, salt, taken.strangers, placed, now_s)


def turns(tracker: Tracker) -> list[tuple[Turn, UserId]]:
    news, tracker.news = tracker.news, []
    return [(one.turn, one.user) for one in news]


def test_addresses_of_two_nodes_are_summed_and_a_shared_one_counts_once(tracker: Tracker) -> None:
    sight(tracker, [row(1, 10), row(1, 11)])
    sight(tracker, [row(1, 11, 2), row(1, 12, 2)], node=TOKYO)
    assert tracker.counts([ALICE, BOB], 0.0) == Counts(online=1, sessions=3)
    sight(tracker, [row(2, 10)])
    assert tracker.live(0.0) == {ALICE: 3, BOB: 1}


def test_a_user_comes_with_his_first_session_and_goes_when_none_was_seen_for_the_window(
    tracker: Tracker,
) -> None:
    sight(tracker, [row(1, 10)], 0.0)
    sight(tracker, [row(1, 10)], 20.0)
    sight(tracker, [row(1, 10, 2)], 25.0, node=TOKYO)
    assert turns(tracker) == [(Turn.CONNECTED, ALICE)]
    tracker.advance(54.9)
    assert turns(tracker) == []
    tracker.advance(55.0)
    [gone] = tracker.news
    assert (gone.turn, gone.user, gone.at_s) == (Turn.DISCONNECTED, ALICE, 25.0)
    assert tracker.counts(None, 55.0) == Counts(online=0, sessions=0)


def test_an_address_that_is_not_seen_any_more_counts_until_the_window_is_over(tracker: Tracker) -> None:
    sight(tracker, [row(1, 10)], 0.0)
    sight(tracker, [row(1, 11)], 15.0)
    assert tracker.counts([ALICE], 29.0).sessions == 2
    assert tracker.counts([ALICE], 30.0).sessions == 1
    assert tracker.counts([ALICE], 45.0) == Counts(online=1, sessions=0)


def test_a_node_is_believed_for_its_own_endpoints_and_their_users_only(tracker: Tracker) -> None:
    sight(tracker, [row(1, 10)])
    sight(tracker, [row(1, 11, 1), row(2, 12, 1)], node=TOKYO)
    assert tracker.counts(None, 0.0) == Counts(online=1, sessions=1)
    assert [one.user for one in tracker.see(TOKYO, SALT, [row(1, 11, 1)], 0.0).strangers] == [ALICE]
    assert tracker.admit(BERLIN, SALT, [row(2, 13)], [], 0.0) == set()
    assert tracker.online() == 1


def test_what_is_no_hash_is_not_counted(tracker: Tracker) -> None:
    wrong = ["", "198.51.100.7", "g" * 32, "1" * 31, "1" * 33, "é" * 32]
    rows = [Sighting(ALICE, EndpointId(1), text) for text in wrong]
    assert sight(tracker, rows) == set()
    assert tracker.online() == 0


def test_who_exceeds_his_limit_is_penalised_once_and_not_longer_for_going_on(tracker: Tracker) -> None:
    rules = [Rules(user=ALICE, max_concurrent=1)]
    assert sight(tracker, [row(1, 10), row(1, 11), row(2, 10)]) == {ALICE, BOB}
    assert tracker.judge(rules, 0.0) == [ALICE]
    sight(tracker, [row(1, 10), row(1, 11)], 100.0)
    assert tracker.judge(rules, 100.0) == []
    assert tracker.penalised(119.9)[ALICE].until_s == PENALTY_S
    assert tracker.penalised(120.0) == {}


def test_what_was_seen_before_the_end_does_not_count_after_it(tracker: Tracker) -> None:
    rules = [Rules(user=ALICE, max_concurrent=1)]
    sight(tracker, [row(1, 10), row(1, 11)])
    tracker.judge(rules, 0.0)
    sight(tracker, [row(1, 10), row(1, 11)], 119.0)
    sight(tracker, [row(1, 12)], 120.0)
    assert tracker.judge(rules, 120.0) == []
    sight(tracker, [row(1, 13)], 121.0)
    assert tracker.judge(rules, 121.0) == [ALICE]
    assert tracker.penalised(121.0)[ALICE].until_s == 241.0


def test_a_penalty_and_its_end_are_news(tracker: Tracker) -> None:
    sight(tracker, [row(1, 10), row(1, 11)])
    tracker.judge([Rules(user=ALICE, max_concurrent=1)], 0.0)
    tracker.advance(200.0)
    assert [turn for turn, _ in turns(tracker)] == [
        *(Turn.CONNECTED, Turn.PENALISED, Turn.DISCONNECTED, Turn.LIFTED)
    ]


def test_an_admin_lifts_a_penalty_and_is_named(tracker: Tracker) -> None:
    sight(tracker, [row(1, 10), row(1, 11)])
    tracker.judge([Rules(user=ALICE, max_concurrent=1)], 0.0)
    turns(tracker)
    admin = Actor(Role.ADMIN, 3)
    assert tracker.lift(ALICE, 5.0, admin)
    assert not tracker.lift(ALICE, 5.0, admin)
    [lifted] = tracker.news
    assert (lifted.turn, lifted.actor, lifted.at_s) == (Turn.LIFTED, admin, 5.0)
    assert tracker.judge([Rules(user=ALICE, max_concurrent=1)], 5.0) == []


def test_a_device_that_is_not_allowed_is_an_offence_also_behind_a_shared_address(tracker: Tracker) -> None:
    rules = [Rules(user=ALICE, max_concurrent=None, allowed_devices=("phone",))]
    assert sight(tracker, [row(1, 10, device="phone")]) == {ALICE}
    assert tracker.judge(rules, 0.0) == []
    assert sight(tracker, [row(1, 10, device="tv"), row(1, 10, device="phone")], 5.0) == {ALICE}
    assert tracker.counts([ALICE], 5.0).sessions == 1
    assert tracker.judge(rules, 5.0) == [ALICE]


def test_nobody_who_is_at_one_address_needs_his_rules_looked_up_again(tracker: Tracker) -> None:
    assert sight(tracker, [row(1, 10)], 0.0) == {ALICE}
    assert sight(tracker, [row(1, 10)], 5.0) == set()
    assert sight(tracker, [row(1, 10), row(1, 11)], 10.0) == {ALICE}


def test_a_change_of_the_salt_makes_nobody_two(tracker: Tracker) -> None:
    sight(tracker, [row(1, 10)], 0.0)
    sight(tracker, [row(1, 20, 2)], 1.0, node=TOKYO)
    sight(tracker, [row(1, 110)], 5.0, salt=8)
    assert tracker.counts([ALICE], 5.0).sessions == 2
    sight(tracker, [row(1, 120, 2)], 6.0, node=TOKYO, salt=8)
    assert tracker.counts([ALICE], 6.0).sessions == 2
    assert tracker.counts([ALICE], 31.5).sessions == 2
    assert turns(tracker) == [(Turn.CONNECTED, ALICE)]


def test_a_flood_of_addresses_of_one_user_grows_no_memory(tracker: Tracker) -> None:
    def flood(first: int) -> None:
        for start in range(first, first + 20_000, 1_000):
            sight(tracker, [row(1, number) for number in range(start, start + 1_000)], 1.0)

    flood(0)
    tracemalloc.start()
    try:
        flood(20_000)
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert grown < 64 * 1024
    assert tracker.counts([ALICE], 1.0).sessions == KEPT


def test_places_are_kept_once_and_in_bounds(tracker: Tracker) -> None:
    sight(
        tracker,
        [row(1, 10, place=Place("DE", "Berlin", None)), row(2, 11, place=Place("DE", "Berlin", None))],
    )
    alice, bob = tracker.person(ALICE, 0.0), tracker.person(BOB, 0.0)
    assert alice is not None
    assert bob is not None
    assert alice.sights[0].place is bob.sights[0].place
    for number in range(25_000):
        sight(tracker, [row(1, 20, place=Place(str(number), None, None))], 100.0 * number)
    assert len(vars(tracker)["_places"]) <= 20_000
