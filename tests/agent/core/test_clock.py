"""A clock that was set is told from one that runs, slowly corrected or not, and from a sleep."""

from hypothesis import given
from hypothesis import strategies as st

from agent.core import clock
from agent.core.clock import Moment

TIMES = st.integers(0, 2**43)
NOON = Moment(wall_ms=1_700_000_000_000, boot_ms=5_000)


def later(wall_ms: int, boot_ms: int) -> Moment:
    return Moment(wall_ms=NOON.wall_ms + wall_ms, boot_ms=NOON.boot_ms + boot_ms)


def test_a_clock_that_goes_with_the_time_since_boot_was_not_set() -> None:
    assert clock.jump_ms(NOON, later(10_000, 10_000)) == 0


def test_a_correction_bit_by_bit_is_no_jump() -> None:
    assert clock.jump_ms(NOON, later(10_500, 10_000)) == 0


def test_a_machine_that_slept_for_an_hour_has_not_jumped() -> None:
    assert clock.jump_ms(NOON, later(3_600_000, 3_600_000)) == 0


def test_a_clock_that_was_set_is_told_with_its_way() -> None:
    assert clock.jump_ms(NOON, later(3_610_000, 10_000)) == 3_600_000
    assert clock.jump_ms(NOON, later(-3_590_000, 10_000)) == -3_600_000


@given(TIMES, TIMES, TIMES, st.integers(0, 2**40))
def test_a_jump_and_its_way_back_cancel_out(wall: int, boot: int, by: int, passed: int) -> None:
    before = Moment(wall_ms=wall, boot_ms=boot)
    after = Moment(wall_ms=wall + passed + by, boot_ms=boot + passed)
    assert clock.jump_ms(before, after) == (by if by >= clock.JUMP_MS else 0)
    assert clock.jump_ms(before, after) == -clock.jump_ms(after, before)


def test_what_a_jump_means_is_told() -> None:
    assert "set back by 3600 s" in clock.told(-3_600_000, vmess=False)
    assert "VMess" not in clock.told(3_600_000, vmess=False)
    assert "VMess clients are refused" in clock.told(3_600_000, vmess=True)
    assert "VMess allows a difference of 120 s" in clock.told(60_000, vmess=True)
