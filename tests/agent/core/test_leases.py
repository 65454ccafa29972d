"""Leases: two numbers decide."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core import leases
from agent.core.leases import Moved
from shared.messages import Account, Lease
from shared.names import EndpointId, UserId

USER = UserId(1)
BYTES = st.integers(0, 1_000)


def account(terms: int | None) -> Account:
    return Account(user=USER, endpoint=EndpointId(1), uuid="u", terms=terms)


@given(BYTES, BYTES, st.none() | BYTES, st.none() | BYTES, st.none() | BYTES)
def test_a_user_goes_on_exactly_while_no_total_has_reached_its_ceiling(
    up: int, down: int, total: int | None, up_ceiling: int | None, down_ceiling: int | None
) -> None:
    lease = Lease(USER, 1, 0, total, up_ceiling, down_ceiling)
    reached = [
        ceiling is not None and moved >= ceiling
        for moved, ceiling in ((up + down, total), (up, up_ceiling), (down, down_ceiling))
    ]
    assert leases.covers(lease, Moved(up, down)) == (not any(reached))


@pytest.mark.parametrize(
    ("terms", "lease", "serves"),
    [
        (None, None, True),
        (1, None, False),
        (1, Lease(USER, 1, 0, 100), True),
        (2, Lease(USER, 1, 0, 100), False),
        (1, Lease(USER, 1, 0, 10), False),
    ],
)
def test_a_limited_account_needs_a_lease_of_its_terms_with_room(
    terms: int | None, lease: Lease | None, serves: bool
) -> None:
    held = {} if lease is None else {USER: lease}
    assert leases.serves(account(terms), held, {USER: Moved(5, 5)}) == serves


@given(BYTES, BYTES, BYTES, BYTES)
def test_cutting_down_never_raises_a_ceiling_and_leaves_at_most_the_spare(
    up: int, down: int, ceiling: int, spare: int
) -> None:
    lease = Lease(USER, 1, 0, ceiling, None, ceiling)
    less = leases.cut_down(lease, Moved(up, down), spare) or lease
    assert less.total is not None
    assert less.down is not None
    assert less.total <= min(ceiling, up + down + spare)
    assert less.down <= min(ceiling, down + spare)
    assert less.up is None
    assert leases.cut_down(less, Moved(up, down), spare) is None


def test_a_renewal_smaller_than_what_he_is_over_does_not_bring_him_back() -> None:
    assert not leases.covers(Lease(USER, 1, 0, 120), Moved(60, 65))
