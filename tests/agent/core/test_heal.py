"""The first restart is at once, the next ones wait, and silence must last before it counts."""

from hypothesis import given
from hypothesis import strategies as st

from agent.core import heal
from agent.core.served import Status

WELL = Status(running=True)
SILENT = Status(running=True, problem="no answer within 2 s")
NOW_MS = 1_700_000_000_000


def test_the_first_restart_is_at_once() -> None:
    assert heal.restart_delay_s(heal.Health(), now_ms=NOW_MS, chance=0.99) == 0


def test_a_core_that_dies_again_is_restarted_later_and_later() -> None:
    health, waits = heal.Health(), []
    for n in range(heal.BUDGET):
        waits.append(heal.restart_delay_s(health, now_ms=NOW_MS + n, chance=0.5))
        health = heal.restarted(health, now_ms=NOW_MS + n)
    assert waits == [0, 0.5, 1, 2, 4, 8]


def test_a_core_that_was_steady_is_restarted_at_once_again() -> None:
    health = heal.restarted(heal.restarted(heal.Health(), now_ms=NOW_MS), now_ms=NOW_MS)
    assert heal.restart_delay_s(health, now_ms=NOW_MS + heal.STEADY_MS, chance=0.9) == 0


def dying(every_ms: int, times: int) -> heal.Health:
    """A core that died so many times, always after so long; it was restarted last at NOW_MS."""
    health = heal.Health()
    for n in reversed(range(times)):
        health = heal.restarted(health, now_ms=NOW_MS - n * every_ms)
    return health


def test_a_core_that_dies_whenever_it_seems_steady_uses_up_a_budget() -> None:
    every_ms = heal.BUDGET_MS // heal.BUDGET
    steadily = dying(every_ms - 1, heal.BUDGET)
    assert heal.spent(dying(every_ms - 1, heal.BUDGET - 1), now_ms=NOW_MS) is None
    assert "6 times in 15 minutes" in (heal.spent(steadily, now_ms=NOW_MS) or "")
    waits = [heal.restart_delay_s(steadily, now_ms=NOW_MS, chance=chance) for chance in (0, 0.5, 0.99)]
    assert waits == sorted(waits)
    assert 50 < waits[0] < waits[2] < 70


def test_a_budget_has_room_again_when_its_time_is_over() -> None:
    health = dying(1000, 3 * heal.BUDGET)
    later_ms = NOW_MS + heal.BUDGET_MS - 1000
    assert heal.spent(health, now_ms=later_ms - 10_000) is not None
    assert heal.spent(health, now_ms=later_ms) is None
    assert heal.restart_delay_s(health, now_ms=later_ms, chance=0.9) == 0


@given(st.lists(st.integers(0, 10**6), max_size=60), st.floats(0, 1, exclude_max=True))
def test_a_core_is_never_given_up_and_little_is_remembered(lives_ms: list[int], chance: float) -> None:
    health, now_ms, times = heal.Health(), NOW_MS, []
    for life_ms in lives_ms:
        now_ms += life_ms + int(1000 * heal.restart_delay_s(health, now_ms=now_ms + life_ms, chance=chance))
        health = heal.restarted(health, now_ms=now_ms)
        times.append(now_ms)
    assert len(health.recent) <= heal.BUDGET
    hurried = [at for at in times if at > now_ms - heal.BUDGET_MS]
    assert len(hurried) <= heal.BUDGET + heal.BUDGET_MS / 54_000 + 1


@given(st.integers(0, 200), st.floats(0, 1, exclude_max=True))
def test_a_wait_is_never_taken_for_steadiness(restarts: int, chance: float) -> None:
    health = heal.Health(restarts=restarts, restarted_ms=NOW_MS)
    assert 1000 * heal.restart_delay_s(health, now_ms=NOW_MS, chance=chance) < heal.STEADY_MS


def test_a_core_that_is_not_running_has_failed_with_its_cause() -> None:
    _, failure = heal.check(heal.Health(), Status(running=False, problem="ended by signal 11"))
    assert failure == heal.Failure("core_down", "ended by signal 11")


def test_a_core_hangs_after_three_silent_checks_in_a_row() -> None:
    health, failures = heal.Health(), []
    for status in (SILENT, SILENT, WELL, SILENT, SILENT, SILENT):
        health, failure = heal.check(health, status)
        failures.append(failure)
    assert failures[:5] == [None] * 5
    assert failures[5] is not None
    assert failures[5].hanging
    assert "no answer within 2 s" in failures[5].detail


def test_a_restarted_core_has_no_silent_checks_behind_it() -> None:
    health, _ = heal.check(heal.Health(), SILENT)
    health = heal.restarted(health, now_ms=NOW_MS)
    assert health.silent == 0
