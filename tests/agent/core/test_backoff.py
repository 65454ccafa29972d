"""Waits stay within their bounds, whatever chance says."""

from hypothesis import given
from hypothesis import strategies as st

from agent.core import backoff

chances = st.floats(0, 1, exclude_max=True)


@given(st.integers(0, 10**6), chances)
def test_a_wait_lies_between_zero_and_the_cap(attempt: int, chance: float) -> None:
    assert 0 <= backoff.delay_s(attempt, base_s=0.5, cap_s=30, chance=chance) <= 30


def test_waits_double_until_the_cap() -> None:
    waits = [backoff.delay_s(n, base_s=1, cap_s=10, chance=0.5) for n in range(6)]
    assert waits == [0.5, 1, 2, 4, 5, 5]


@given(st.floats(0.01, 1e6), chances)
def test_a_spread_period_differs_by_a_tenth_at_most(period_s: float, chance: float) -> None:
    assert 0.89 * period_s <= backoff.spread_s(period_s, chance=chance) <= 1.11 * period_s
