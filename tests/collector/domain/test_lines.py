"""What is remembered of managers: room never hides a change, and nothing that is added is lost on the way."""

from hypothesis import given
from hypothesis import strategies as st

from collector.domain import lines, managers
from collector.domain.lane import ENDLESS
from collector.domain.leases import Bytes, Ceilings
from collector.domain.lines import Place
from shared.names import ManagerId

_BYTES = st.integers(0, 10_000)
_LIMIT = st.none() | st.integers(0, 10_000)


@given(st.builds(Ceilings, _LIMIT, _LIMIT, _LIMIT), st.integers(1, 100), _BYTES, _BYTES, _BYTES, _BYTES)
def test_fewer_bytes_than_there_is_room_for_change_no_mark(
    limits: Ceilings, percent: int, up: int, down: int, more_up: int, more_down: int
) -> None:
    before = Bytes(up + down, up, down)
    after = Bytes(up + down + more_up + more_down, up + more_up, down + more_down)
    if more_up + more_down < lines.room(limits, percent, before):
        assert managers.marks(limits, percent, before) == managers.marks(limits, percent, after)


@given(st.integers(1, 10_000), st.integers(1, 100), _BYTES)
def test_as_many_bytes_as_there_is_room_for_reach_a_mark(limit: int, percent: int, used: int) -> None:
    limits, before = Ceilings(limit), Bytes(used, used, 0)
    room = lines.room(limits, percent, before)
    after = Bytes(used + room, used + room, 0)
    assert room == ENDLESS or managers.marks(limits, percent, before) != managers.marks(
        limits, percent, after
    )


def test_room_is_used_up_by_what_is_charged_and_time_ends_it() -> None:
    place = Place(None, due_ms=100, room=10)
    assert place.takes(6, now_ms=99)
    assert not place.takes(4, now_ms=99)
    assert place.takes(3, now_ms=99)
    assert not place.takes(0, now_ms=100)


@given(
    st.lists(st.integers(-1, 8), min_size=1, max_size=9),
    st.dictionaries(st.integers(0, 8), st.tuples(_BYTES, _BYTES)),
)
def test_the_root_gets_what_is_added_anywhere_below_it(
    parents: list[int], deltas: dict[int, tuple[int, int]]
) -> None:
    above = [parent % place if place and parent >= 0 else None for place, parent in enumerate(parents)]
    places = {
        ManagerId(place): Place(None if one is None else ManagerId(one), None, ENDLESS)
        for place, one in enumerate(above)
    }
    given_to = {ManagerId(place): delta for place, delta in deltas.items()}
    added = lines.added(given_to, places)
    roots = [number for number, place in places.items() if place.parent is None]
    known = [delta for number, delta in given_to.items() if number in places]
    assert sum(sum(added.get(root, (0, 0))) for root in roots) == sum(map(sum, known))
