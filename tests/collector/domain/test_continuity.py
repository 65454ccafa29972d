"""Gaps: when numbers may have been used that the database does not know."""

from hypothesis import given
from hypothesis import strategies as st

from collector.domain import continuity

NOW_MS = 1_800_000_000_000


def test_a_restart_makes_no_gap() -> None:
    assert continuity.floor_after(NOW_MS - continuity.RESTART_MS, NOW_MS) is None


def test_a_first_start_makes_no_gap() -> None:
    assert continuity.floor_after(None, NOW_MS) is None


@given(st.integers(1, 10**11), st.integers(1, 10**11))
def test_a_later_gap_has_a_higher_floor(first_ms: int, more_ms: int) -> None:
    early = continuity.floor_after(0, NOW_MS + first_ms)
    late = continuity.floor_after(0, NOW_MS + first_ms + more_ms + 1_000)
    assert early is not None
    assert late is not None
    assert early < late < 2**31


@given(st.integers(-(10**12), 10**12))
def test_a_restore_is_suspected_after_a_minute_and_where_a_clock_went_back(gap_ms: int) -> None:
    suspected = continuity.may_be_restored(NOW_MS - gap_ms, NOW_MS)
    assert suspected == (abs(gap_ms) > continuity.LENDING_GAP_MS)


def test_a_first_start_follows_no_restore() -> None:
    assert not continuity.may_be_restored(None, NOW_MS)
