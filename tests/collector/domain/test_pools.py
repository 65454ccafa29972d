"""Pools: what managers leave for leases, as properties."""

from hypothesis import given
from hypothesis import strategies as st

from collector.domain import pools
from collector.domain.leases import MIN_LEASE_BYTES, Bytes, Ceilings
from collector.domain.pools import Pool

GB = 10**9
bytes_ = st.integers(0, 100 * GB)
figures = st.builds(Bytes, bytes_, bytes_, bytes_)
ceilings = st.builds(Ceilings, *[st.none() | bytes_] * 3)
many = st.lists(st.builds(Pool, ceilings, figures, figures), max_size=4)


@given(limits=ceilings, used=figures, taken=figures, above=many)
def test_nobody_is_lent_more_than_anybody_above_him_has_free(
    limits: Ceilings, used: Bytes, taken: Bytes, above: list[Pool]
) -> None:
    after = pools.bounded(limits, used, taken, Bytes(), above)
    for kind, limit in enumerate(after):
        for pool in above:
            if (most := pool.limits[kind]) is not None:
                assert limit is not None
                free = max(0, most - pool.used[kind] - pool.held[kind])
                assert limit - used[kind] - taken[kind] <= free


@given(limits=ceilings, used=figures, taken=figures, spent=figures, above=many)
def test_managers_never_raise_a_users_own_limit(
    limits: Ceilings, used: Bytes, taken: Bytes, spent: Bytes, above: list[Pool]
) -> None:
    after = pools.bounded(limits, used, taken, spent, above)
    assert all(
        own is None or (now is not None and now <= own) for own, now in zip(limits, after, strict=True)
    )


def test_without_managers_his_own_limits_are_all() -> None:
    limits = Ceilings(5, None, 7)
    assert pools.bounded(limits, Bytes(1, 1, 1), Bytes(), Bytes(), []) == limits


def test_one_user_takes_a_share_of_what_is_free_and_near_the_end_all_of_it() -> None:
    plenty = Pool(Ceilings(80 * GB), Bytes(), Bytes())
    assert pools.bounded(Ceilings(), Bytes(), Bytes(), Bytes(), [plenty]).total == 10 * GB
    little = Pool(Ceilings(MIN_LEASE_BYTES), Bytes(), Bytes())
    assert pools.bounded(Ceilings(), Bytes(), Bytes(), Bytes(), [little]).total == MIN_LEASE_BYTES


@given(pool=st.builds(Pool, ceilings, figures, figures), more=figures)
def test_what_is_allowed_to_be_drawn_leaves_used_and_held_within_the_limit(pool: Pool, more: Bytes) -> None:
    if pools.kept([pool], more):
        after = pools.drawn(pool, more)
        for limit, used, held, extra in zip(*after, more, strict=True):
            assert limit is None or extra == 0 or used + held <= limit


@given(pool=st.builds(Pool, ceilings, figures, figures), back=figures)
def test_giving_back_is_always_allowed(pool: Pool, back: Bytes) -> None:
    assert pools.kept([pool], pools.minus(Bytes(), back))
