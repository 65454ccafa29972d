"""A column holds what was put into it, however far apart its ids are."""

from hypothesis import given
from hypothesis import strategies as st

from collector.domain.paged import Paged
from shared.names import MAX_ID

_IDS = st.integers(0, 3_000) | st.integers(217_000_000, 217_003_000) | st.integers(0, MAX_ID)


@given(st.lists(st.tuples(_IDS, st.integers(-1, 2**62))), st.lists(_IDS))
def test_every_id_has_what_was_put_last_or_the_blank_number(
    put: list[tuple[int, int]], asked: list[int]
) -> None:
    column, truly = Paged(-1), dict[int, int]()
    for number, value in put:
        column[number] = truly[number] = value
    assert dict(column) == {number: value for number, value in truly.items() if value != -1}
    assert [column[number] for number in asked] == [truly.get(number, -1) for number in asked]
