"""The fast lane finds every meter, in whatever order rows come."""

from hypothesis import example, given
from hypothesis import strategies as st

from collector.domain import lane
from collector.domain.lane import ENDLESS, People, Source
from shared.messages import Usage
from shared.names import EndpointId, UserId

NOW_MS = 1_800_000_000_000
FACTORS = {EndpointId(1): 1_000, EndpointId(2): 1_500}
meters = st.sets(st.tuples(st.integers(1, 9), st.sampled_from(sorted(FACTORS))))
named = st.lists(st.tuples(st.integers(-2, 12), st.integers(1, 3)), unique=True)


@example(known=set(), admitted=set(), named=[(-1, 1)])
@given(known=meters, admitted=st.sets(st.integers(1, 9)), named=named)
def test_rows_of_known_meters_of_the_admitted_are_taken_and_no_others(
    known: set[tuple[int, int]], admitted: set[int], named: list[tuple[int, int]]
) -> None:
    source = Source(number=1, node=1, hour=0, epoch=0, fast_bytes=1_000, factors=FACTORS)
    source.meters.put([(UserId(user), EndpointId(way), 10, 20, 10, 20) for user, way in known])
    people = People()
    for user in admitted:
        people.rooms[user] = ENDLESS
    rows = [
        (place, Usage(UserId(user), EndpointId(way), 110, 220)) for place, (user, way) in enumerate(named)
    ]
    taken = lane.take(rows, source, people, NOW_MS, NOW_MS)
    expected = [pair for pair in named if pair in known and pair[0] in admitted]
    assert [(row[1], row[2]) for row in taken.moved] == expected
    assert [place for place, _ in taken.careful] == [
        place for place, pair in enumerate(named) if pair not in expected
    ]
    for _, _, way, *totals, at_ms in taken.moved:
        factor = FACTORS[EndpointId(way)]
        more = [
            (110 * factor // 1_000) - (10 * factor // 1_000),
            (220 * factor // 1_000) - (20 * factor // 1_000),
        ]
        assert (totals, at_ms) == ([110, 220, 10 + more[0], 20 + more[1]], NOW_MS)
