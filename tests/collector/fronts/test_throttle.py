"""The throttle: guessing is bounded, right passwords are free, memory is bounded."""

from hypothesis import given
from hypothesis import strategies as st

from collector.fronts.rest import throttle
from collector.fronts.rest.throttle import Limit, Throttle

PER_ACCOUNT = Limit(burst=3, per_s=0.5)
TOGETHER = Limit(burst=10, per_s=2.0)

_ATTEMPTS = st.lists(st.tuples(st.sampled_from("abcdefgh"), st.floats(0, 5)), max_size=200)


@given(_ATTEMPTS)
def test_failures_never_exceed_the_burst_and_what_came_back_since(attempts: list[tuple[str, float]]) -> None:
    limited, now_s = Throttle(PER_ACCOUNT, TOGETHER), 100.0
    let_through: dict[str, int] = {}
    for account, pause_s in attempts:
        now_s += pause_s
        let_through[account] = let_through.get(account, 0) + (limited.take(account, now_s) == 0.0)
        passed_s = now_s - 100.0
        assert let_through[account] <= PER_ACCOUNT.burst + passed_s * PER_ACCOUNT.per_s + 1e-6
        assert sum(let_through.values()) <= TOGETHER.burst + passed_s * TOGETHER.per_s + 1e-6


@given(_ATTEMPTS)
def test_the_wait_that_is_told_is_long_enough(attempts: list[tuple[str, float]]) -> None:
    limited, now_s = Throttle(PER_ACCOUNT, TOGETHER), 0.0
    for account, pause_s in attempts:
        now_s += pause_s
        if wait_s := limited.take(account, now_s):
            now_s += wait_s + 1e-9
            assert limited.take(account, now_s) == 0.0


def test_right_passwords_cost_nothing() -> None:
    limited = Throttle(PER_ACCOUNT, TOGETHER)
    for _ in range(100):
        assert limited.take("ada", 0.0) == 0.0
        limited.give_back("ada", 0.0)
    assert [limited.take("ada", 0.0) == 0.0 for _ in range(4)] == [True, True, True, False]


def test_one_account_under_attack_leaves_the_others_alone() -> None:
    limited = Throttle(PER_ACCOUNT, TOGETHER)
    for _ in range(50):
        limited.take("ada", 0.0)
    assert limited.take("bob", 0.0) == 0.0


def test_made_up_accounts_do_not_fill_the_memory() -> None:
    limited = Throttle(PER_ACCOUNT, TOGETHER)
    for number in range(throttle.MAX_ACCOUNTS * 2):
        limited.take(str(number), 0.0)
    assert len(limited._accounts) == throttle.MAX_ACCOUNTS  # noqa: SLF001 - the bound is on this
