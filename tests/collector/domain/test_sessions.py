"""How many addresses a user is connected from: exact, over all nodes, bounded, and never too many."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from collector.domain import penalties, sessions
from collector.domain.penalties import Penalty, Reason
from collector.domain.sessions import KEPT, Rules, Salt, Sight
from shared.messages import Place
from shared.names import EndpointId, UserId

WINDOW_S = 30.0
ALICE = UserId(1)

#: An address, an endpoint, a salt, and the seconds since the last sighting.
STEPS = st.lists(
    st.tuples(st.integers(0, 5), st.integers(1, 3), st.integers(1, 2), st.floats(0, 20)), max_size=60
)


def hashed(number: int) -> bytes:
    return number.to_bytes(sessions.HASH_BYTES)


def sight(
    number: int, endpoint: int = 1, salt: int = 1, at_s: float = 0.0, device: str | None = None
) -> Sight:
    return Sight(salt, hashed(number), EndpointId(endpoint), at_s, device)


def note(sights: list[Sight], new: Sight) -> None:
    if not sessions.refreshed(sights, new):
        sessions.add(sights, new)


def noted(*news: Sight) -> list[Sight]:
    sights: list[Sight] = []
    for new in news:
        note(sights, new)
    return sights


def salt(number: int, day: int) -> Salt:
    return Salt(number=number, key=b"k" * sessions.KEY_BYTES, day=day)


@given(STEPS)
def test_the_count_is_that_of_a_plain_model(steps: Sequence[tuple[int, int, int, float]]) -> None:
    sights: list[Sight] = []
    last_s: dict[tuple[int, int], float] = {}
    now_s = 0.0
    for number, endpoint, by, later_s in steps:
        now_s += later_s
        note(sights, sight(number, endpoint, by, now_s))
        last_s[by, number] = now_s
        sessions.prune(sights, now_s - WINDOW_S)
        alive = [name for name, at_s in last_s.items() if at_s > now_s - WINDOW_S]
        wanted = max(sum(one == by for one, _ in alive) for by in (1, 2))
        assert sessions.count(sights) == wanted


@given(STEPS)
def test_the_order_of_what_nodes_say_at_once_does_not_matter(
    steps: Sequence[tuple[int, int, int, float]],
) -> None:
    news = [(number, endpoint, by) for number, endpoint, by, _ in steps]
    forth, back = noted(*(sight(*one) for one in news)), noted(*(sight(*one) for one in reversed(news)))
    assert sessions.count(forth) == sessions.count(back)
    assert sessions.by_endpoint(forth) == sessions.by_endpoint(back)


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(1, 4)), max_size=600))
def test_a_flood_of_addresses_takes_bounded_room_and_is_still_counted_as_a_flood(
    flood: Sequence[tuple[int, int]],
) -> None:
    sights = noted(*(sight(number, endpoint) for number, endpoint in flood))
    assert len(sights) <= KEPT
    assert sessions.count(sights) == min(KEPT, len({number for number, _ in flood}))


def test_an_address_on_all_endpoints_of_a_fleet_takes_no_room_from_others() -> None:
    sights = noted(*(sight(1, endpoint) for endpoint in range(1, 500)), sight(2), sight(3))
    assert sessions.count(sights) == 3


def test_hashes_of_two_salts_are_never_added_up() -> None:
    before = [sight(number, salt=1) for number in (1, 2)]
    after = [sight(number, salt=2) for number in (11, 12)]
    assert sessions.count(noted(*before, *after)) == 2
    assert sessions.count(noted(*before, *after, sight(13, salt=2))) == 3
    assert sessions.count(noted(*before, *after[:1])) == 2


def test_an_address_counts_on_each_endpoint_and_in_each_place() -> None:
    berlin = Place("DE", "Berlin", None)
    sights = noted(sight(1, 1), sight(1, 2), sight(2, 2))
    sights[2].place = berlin
    assert sessions.by_endpoint(sights) == {1: 1, 2: 2}
    assert sessions.by_place(sights) == {None: 1, berlin: 1}


def test_the_salt_of_yesterday_is_taken_for_a_while_and_its_key_is_gone() -> None:
    first = sessions.turned(None, salt(7, 1), 0.0)
    assert first.accepts(7, 1e9)
    assert not first.accepts(8, 0.0)
    second = sessions.turned(first, salt(8, 2), 30.0)
    assert second.accepts(8, 1e9)
    assert second.accepts(7, 29.9)
    assert not second.accepts(7, 30.0)
    assert first.present.key not in vars(second).values()


def test_no_text_of_a_salt_shows_its_key() -> None:
    assert "kkkk" not in repr(sessions.turned(None, salt(7, 1), 0.0))


@given(st.integers(0, 2**45))
def test_a_day_ends_when_the_next_begins(now_ms: int) -> None:
    left_ms = round(1000 * sessions.left_s(now_ms))
    assert 0 < left_ms <= sessions.DAY_MS
    assert sessions.day(now_ms + left_ms) == sessions.day(now_ms) + 1
    assert sessions.day(now_ms + left_ms - 1) == sessions.day(now_ms)


@given(st.integers(1, 100), st.integers(0, KEPT))
def test_as_many_sessions_as_are_allowed_are_no_offence_and_one_more_is(most: int, count: int) -> None:
    found = penalties.offence(Rules(user=ALICE, max_concurrent=most), count, ())
    assert found == (Reason.SESSIONS if count > most else None)


def test_only_devices_that_are_listed_are_allowed_and_no_list_allows_all() -> None:
    listed = Rules(user=ALICE, max_concurrent=None, allowed_devices=("phone", "desk"))
    assert penalties.offence(listed, 9, {"phone"}) is None
    assert penalties.offence(listed, 1, {"phone", "tv"}) is Reason.DEVICE
    assert penalties.offence(listed, 1, ()) is None
    assert penalties.offence(Rules(user=ALICE, max_concurrent=None), 9, {"tv"}) is None


def test_a_mark_names_a_list_of_penalties_whatever_its_order() -> None:
    first, second = (
        Penalty(user=UserId(user), reason=Reason.SESSIONS, until_s=1.0, number=user) for user in (1, 2)
    )
    assert penalties.mark([]) == 0
    assert penalties.mark([first, second]) == penalties.mark([second, first]) > 0
    assert len({penalties.mark(listed) for listed in ([first], [second], [first, second])}) == 3
    again = Penalty(user=UserId(1), reason=Reason.SESSIONS, until_s=9.0, number=3)
    assert penalties.mark([first]) != penalties.mark([again])


def test_limits_that_cannot_be_held_are_refused() -> None:
    assert sessions.wrong(None, ()) == {}
    assert sessions.wrong(1, ("phone",)) == sessions.wrong(sessions.MAX_CONCURRENT, ["a"] * 64) == {}
    assert set(sessions.wrong(0, ["a"] * 65)) == {"max_concurrent", "allowed_devices"}
    assert set(sessions.wrong(sessions.MAX_CONCURRENT + 1, ("a\nb",))) == {
        "max_concurrent",
        "allowed_devices",
    }
    assert set(sessions.wrong(-1, ("",))) == {"max_concurrent", "allowed_devices"}
    assert set(sessions.wrong(None, ("x" * 129,))) == {"allowed_devices"}
