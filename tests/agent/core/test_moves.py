"""What users have moved on a node is the sum over their endpoints, and the idle are found once."""

import math

from hypothesis import given
from hypothesis import strategies as st

from agent.core.counting import Meter
from agent.core.leases import Moved
from agent.core.moves import Moves
from shared.names import EndpointId, UserId

ALICE, BOB, CAROL = UserId(1), UserId(2), UserId(3)

meters = st.builds(Meter, st.integers(1, 4).map(UserId), st.integers(1, 3).map(EndpointId))
totals = st.lists(st.tuples(meters, st.integers(0, 2**40), st.integers(0, 2**40)))


def moved(*users: UserId, at_s: float) -> Moves:
    found = Moves()
    found.grow([(Meter(user, EndpointId(1)), 1, 1) for user in users], at_s)
    return found


@given(totals)
def test_a_sum_is_that_of_the_last_totals_of_all_endpoints(told: list[tuple[Meter, int, int]]) -> None:
    found, last = Moves(), dict[Meter, tuple[int, int]]()
    for meter, up, down in told:
        found.grow([(meter, up, down)], 1.0)
        last[meter] = up, down
    assert dict(found) == {
        user: Moved(
            sum(up for meter, (up, _) in last.items() if meter.user == user),
            sum(down for meter, (_, down) in last.items() if meter.user == user),
        )
        for user in {meter.user for meter in last}
    }


def test_who_was_let_rest_is_not_resting_until_he_moves_again() -> None:
    found = moved(ALICE, BOB, at_s=10.0)
    assert found.resting([ALICE, BOB, CAROL], 10.0) == []
    found.grow([(Meter(BOB, EndpointId(1)), 2, 2)], 20.0)
    assert found.resting([ALICE, BOB, CAROL], 15.0) == [ALICE]
    found.rest([ALICE])
    assert found.resting([ALICE, BOB, CAROL], 15.0) == []
    found.grow([(Meter(ALICE, EndpointId(1)), 2, 2)], 21.0)
    assert found.resting([ALICE, BOB, CAROL], 30.0) == [ALICE, BOB]


def test_whoever_moved_nothing_since_is_idle_known_or_not() -> None:
    found = moved(ALICE, BOB, at_s=10.0)
    found.begin([BOB], 12.0)
    assert [found.is_idle(user, 11.0) for user in (ALICE, BOB, CAROL)] == [True, False, True]
    found.rest([BOB])
    assert found.is_idle(BOB, 11.0)
    assert found[BOB] == Moved(1, 1)


def test_whoever_moved_before_this_agent_began_is_idle_and_not_resting() -> None:
    found = moved(ALICE, at_s=math.inf)
    assert found.resting([ALICE], 1_000.0) == []
    assert found.is_idle(ALICE, 1_000.0)
    assert found[ALICE] == Moved(1, 1)
