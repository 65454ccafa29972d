"""Columns hold what a dictionary of meters would, to the byte."""

from hypothesis import given
from hypothesis import strategies as st

from collector.domain.columns import NONE, Columns, MeterRow
from shared.names import EndpointId, UserId

FACTORS = {EndpointId(1): 1_000, EndpointId(2): 2_500, EndpointId(3): 0}
users = st.integers(1, 12).map(UserId)
endpoints = st.sampled_from(sorted(FACTORS))
figures = st.integers(0, 2**61)
rows = st.tuples(users, endpoints, figures, figures, figures, figures)
batches = st.lists(st.lists(rows, max_size=8, unique_by=lambda row: row[:2]), max_size=8)


def _keyed(found: list[MeterRow]) -> dict[tuple[UserId, EndpointId], tuple[int, ...]]:
    return {(row[0], row[1]): row[2:] for row in found}


@given(batches=batches, gone=st.lists(st.tuples(users, endpoints), max_size=4))
def test_what_was_put_last_is_what_is_there(
    batches: list[list[MeterRow]], gone: list[tuple[UserId, EndpointId]]
) -> None:
    columns, truly = Columns(FACTORS), dict[tuple[UserId, EndpointId], tuple[int, ...]]()
    for batch in batches:
        columns.put(batch)
        truly |= _keyed(batch)
    for key in gone:
        columns.drop(*key)
        truly.pop(key, None)
    assert _keyed(list(columns)) == truly
    assert list(columns.users) == sorted(set(columns.users))
    for user in range(14):
        for endpoint in (*FACTORS, EndpointId(9)):
            assert columns.has(UserId(user), endpoint) == ((user, endpoint) in truly)


@given(before=batches, after=batches, quiet=st.dictionaries(users, figures))
def test_the_quiet_of_a_user_stays_his_whoever_comes_between(
    before: list[list[MeterRow]], after: list[list[MeterRow]], quiet: dict[UserId, int]
) -> None:
    columns = Columns(FACTORS)
    for batch in before:
        columns.put(batch)
    known = set(columns.users)
    for user, figure in quiet.items():
        columns.hush(user, figure)
    for batch in after:
        columns.put(batch)
    for user in map(UserId, range(14)):
        assert columns.quiet_of(user) == (quiet.get(user, NONE) if user in known else NONE)
