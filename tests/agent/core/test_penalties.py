"""A penalty ends by the node's own clock, and the newest list is the whole truth."""

from agent.core import penalties
from shared.messages import Penalty
from shared.names import UserId

ALICE, BOB = UserId(1), UserId(2)


def test_a_penalty_is_counted_from_when_it_was_heard_of() -> None:
    noted = penalties.noted([Penalty(ALICE, 5.0), Penalty(BOB, 0.0)], 100.0)
    assert noted == {ALICE: 105.0}


def test_no_penalty_outlasts_a_day_by_somebody_s_mistake() -> None:
    assert penalties.noted([Penalty(ALICE, 1e300)], 0.0) == {ALICE: penalties.LONGEST_S}


def test_penalties_end_one_by_one() -> None:
    both = {ALICE: 105.0, BOB: 110.0}
    assert penalties.left(both, 104.9) is both
    assert penalties.left(both, 105.0) == {BOB: 110.0}
    assert penalties.left(both, 110.0) == {}
