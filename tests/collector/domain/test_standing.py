"""Time and bytes together: whoever notices a boundary, the books say the same."""

from hypothesis import given
from hypothesis import strategies as st

from collector.domain import standing
from collector.domain.resets import Anchor, Mode
from collector.domain.users import NewUser, Status, User, UserChanges

NOW_MS = 1_800_000_000_000
HOUR_S = 3_600

_USERS = st.builds(
    NewUser,
    name=st.just("ada"),
    quota_bytes=st.none() | st.integers(0, 300),
    reset=st.sampled_from(Mode),
    reset_anchor=st.sampled_from(Anchor),
    zone=st.sampled_from(["UTC", "Asia/Tehran", "Australia/Lord_Howe"]),
    duration_s=st.none() | st.integers(1, 5_000 * HOUR_S),
    start_at_ms=st.none() | st.integers(NOW_MS - 10**9, NOW_MS + 10**9),
)
#: Seconds that pass, bytes that come then, and whether the clock runs between.
_STEPS = st.lists(
    st.tuples(st.integers(0, 400 * HOUR_S), st.integers(0, 100), st.booleans()), min_size=1, max_size=20
)


def _fresh(new: NewUser) -> User:
    return standing.fresh(new, "00000000-0000-4000-8000-000000000000", NOW_MS)


@given(_USERS, _STEPS)
def test_reports_alone_and_reports_with_a_clock_lead_to_the_same_user(
    new: NewUser, steps: list[tuple[int, int, bool]]
) -> None:
    alone = clocked = _fresh(new)
    now_ms = NOW_MS
    for passed_s, up_bytes, ticks in steps:
        for part in range(1, 4):
            moment_ms = now_ms + passed_s * 1_000 * part // 3
            clocked = standing.advanced(clocked, moment_ms) if ticks else clocked
        now_ms += passed_s * 1_000
        alone, clocked = (standing.charged(one, up_bytes, 1, now_ms) for one in (alone, clocked))
        assert alone == clocked
    assert alone.life_up_bytes == sum(step[1] for step in steps)
    assert alone.life_down_bytes == len(steps)
    assert alone.used.total <= alone.life_up_bytes + alone.life_down_bytes


@given(_USERS, _STEPS)
def test_nothing_changes_before_a_user_is_due_and_whoever_was_advanced_is_due_later(
    new: NewUser, steps: list[tuple[int, int, bool]]
) -> None:
    user, now_ms = _fresh(new), NOW_MS
    for passed_s, up_bytes, _ in steps:
        now_ms += passed_s * 1_000
        user = standing.charged(user, up_bytes, 0, now_ms)
        assert user.due_ms is None or user.due_ms > now_ms
        last_ms = now_ms + 10**12 if user.due_ms is None else user.due_ms - 1
        assert standing.judged(user, last_ms) == user
        assert standing.advanced(user, last_ms) == user


@given(_USERS, st.integers(0, 10**10))
def test_an_admin_who_switches_off_is_never_overruled_by_time(new: NewUser, later_ms: int) -> None:
    off = standing.changed(_fresh(new), UserChanges(active=False), NOW_MS)
    after = standing.charged(standing.advanced(off, NOW_MS + later_ms), 1, 1, NOW_MS + later_ms)
    assert after.standing == (Status.INACTIVE, None)
