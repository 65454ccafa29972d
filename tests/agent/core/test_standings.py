"""Columns hold what was put into them, and who is chosen is so until he changes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core import standings
from agent.core.counting import Count, Meter
from agent.core.standings import Chosen, Standing, Standings
from shared.names import EndpointId, UserId

ALICE, BOB = Meter(UserId(1), EndpointId(1)), Meter(UserId(2), EndpointId(1))

numbers = st.integers(0, 2**63 - 1)
meters = st.builds(Meter, st.integers(1, 9).map(UserId), st.integers(1, 3).map(EndpointId))


@given(st.dictionaries(meters, st.builds(Standing, *[numbers] * standings.COLUMNS)))
def test_what_is_put_in_stands(put: dict[Meter, Standing]) -> None:
    found = Standings()
    for meter, standing in put.items():
        found.put(meter, standing)
    assert dict(found) == put
    assert dict(found.totals()) == {meter: standing.total for meter, standing in put.items()}
    places = range(0, len(put), 2)
    assert list(found.totals(places)) == list(put)[::2]


def test_a_draft_leaves_what_it_is_of_as_it_was() -> None:
    first = Standings()
    first.put(ALICE, Standing(1, 2, 3, 4, 5, 6))
    draft = first.draft()
    draft.put(ALICE, Standing(7, 7, 7, 7, 7, 7))
    draft.put(BOB, Standing(8, 8, 8, 8, 8, 8))
    assert dict(first) == {ALICE: Standing(1, 2, 3, 4, 5, 6)}
    assert list(draft) == [ALICE, BOB]
    assert draft.draft()[BOB].total == Count(8, 8)


def test_a_number_beyond_64_bits_is_refused() -> None:
    with pytest.raises(OverflowError):
        Standings().put(ALICE, Standing(2**63, 0, 0, 0, 0, 0))


def test_who_is_chosen_stays_so_until_he_changes_or_all_are_forgotten() -> None:
    before = Standings()
    before.put(ALICE, Standing(1, 0, 0, 1, 0, 0))
    chosen = Chosen(before)
    assert ALICE not in chosen
    chosen.add([ALICE])
    after = before.draft()
    after.put(BOB, Standing(1, 0, 0, 1, 0, 0))
    chosen.follow(after, [1])
    assert [meter in chosen for meter in (ALICE, BOB)] == [True, False]
    chosen.add([BOB])
    chosen.follow(after, [0])
    assert [meter in chosen for meter in (ALICE, BOB)] == [False, True]
    chosen.clear()
    assert BOB not in chosen
