"""Three phases: when each is entered, whom it holds, when it is left."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from collector.domain import managers, phases
from collector.domain.managers import Manager, ManagerChanges, NewManager
from collector.domain.phases import CALM, Counts, Hold, Phase, Watch

NOW_MS = 1_800_000_000_000
MINUTE_MS = 60_000


def made(**limits: Any) -> Manager:  # noqa: ANN401 - as NewManager has them
    return managers.fresh(NewManager(name="ada", **limits), NOW_MS)


def looked(manager: Manager, watch: Watch, now_ms: int, online: int) -> Watch:
    return phases.watched(manager, Counts(sessions=online, online=online), watch, now_ms)


def test_far_from_every_limit_nothing_is_done() -> None:
    verdict = phases.verdict(made(quota_bytes=100, max_online=10), Counts(online=7))
    assert (verdict.phase, verdict.hold, verdict.near) == (None, Hold.NOBODY, frozenset())


def test_near_a_limit_there_is_a_notice_and_nobody_is_held() -> None:
    used = managers.charged(made(quota_bytes=100), 40, 40, NOW_MS)
    assert phases.verdict(used, Counts()).near == {"quota_bytes"}
    verdict = phases.verdict(made(max_online=10), Counts(online=8))
    assert (verdict.phase, verdict.hold) == (Phase.NOTICE, Hold.NOBODY)
    assert verdict.near == {"max_online"}
    assert phases.verdict(made(max_online=10, notice_percent=90), Counts(online=8)).phase is None


def test_a_limit_of_bytes_that_is_reached_holds_everybody_until_it_is_raised() -> None:
    used = managers.charged(made(quota_bytes=100), 0, 100, NOW_MS)
    verdict = phases.verdict(used, Counts())
    assert (verdict.phase, verdict.hold) == (Phase.DEFAULT, Hold.EVERYBODY)
    raised = managers.changed(used, ManagerChanges(quota_bytes=1_000), NOW_MS)
    assert phases.verdict(raised, Counts()).hold is Hold.NOBODY


def test_whoever_is_switched_off_holds_everybody() -> None:
    off = managers.changed(made(), ManagerChanges(active=False), NOW_MS)
    assert phases.verdict(off, Counts()).hold is Hold.EVERYBODY


def test_counts_that_are_reached_block_only_whoever_would_add_to_them() -> None:
    assert phases.verdict(made(max_online=10), Counts(online=10)).hold is Hold.OFFLINE
    assert phases.verdict(made(max_sessions=10), Counts(sessions=10)).hold is Hold.OFFLINE
    assert phases.verdict(made(max_active=10), Counts(active=10)).hold is Hold.UNUSED
    both = phases.verdict(made(max_active=10, max_online=3), Counts(active=10, online=3))
    assert both.hold == Hold.OFFLINE | Hold.UNUSED


def test_a_block_is_lifted_when_the_count_has_fallen_by_a_twentieth() -> None:
    manager, watch = made(max_online=100), CALM
    for online, hold in ((99, Hold.NOBODY), (100, Hold.OFFLINE), (96, Hold.OFFLINE), (95, Hold.NOBODY)):
        watch = looked(manager, watch, NOW_MS, online)
        assert watch.verdict.hold is hold
    assert looked(manager, watch, NOW_MS, 99).verdict.hold is Hold.NOBODY
    small = looked(made(max_online=2), CALM, NOW_MS, 2)
    assert looked(made(max_online=2), small, NOW_MS, 1).verdict.hold is Hold.NOBODY


def test_the_penalty_comes_after_the_notices_and_ends_by_itself() -> None:
    manager, watch = made(max_online=10, notices=2, penalty_s=600), CALM
    told = []
    for minute in range(3):
        watch = looked(manager, watch, NOW_MS + minute * MINUTE_MS, 11)
        told.append((watch.notices, watch.verdict.phase))
    assert told == [(1, Phase.DEFAULT), (2, Phase.DEFAULT), (0, Phase.PENALTY)]
    ends_ms = NOW_MS + 2 * MINUTE_MS + 600_000
    assert looked(manager, watch, ends_ms - 1, 11).verdict.hold is Hold.EVERYBODY
    after = looked(manager, watch, ends_ms, 0)
    assert (after.verdict.phase, after.verdict.hold) == (None, Hold.NOBODY)
    assert looked(manager, after, ends_ms, 11).notices == 1


def test_notices_are_told_a_minute_apart_and_forgotten_when_the_limits_were_kept() -> None:
    manager = made(max_online=10, notices=2, penalty_s=300)
    first = looked(manager, CALM, NOW_MS, 11)
    assert looked(manager, first, NOW_MS + MINUTE_MS - 1, 11).notices == 1
    assert looked(manager, first, NOW_MS + 299_999, 10).notices == 1
    assert looked(manager, first, NOW_MS + 300_000, 10).notices == 0


def test_a_restart_or_a_penalty_of_nothing_ends_a_penalty() -> None:
    manager = made(max_online=10, notices=0, penalty_s=600)
    watch = looked(manager, CALM, NOW_MS, 11)
    assert watch.verdict.phase is Phase.PENALTY
    assert phases.verdict(manager, Counts(online=3), CALM, NOW_MS + 1).hold is Hold.NOBODY
    lenient = structs.replace(manager, penalty_s=0)
    assert looked(lenient, watch, NOW_MS + 1, 3).verdict.hold is Hold.NOBODY
    for minute in range(9):
        watch = looked(lenient, watch, NOW_MS + minute * MINUTE_MS, 11)
        assert watch.verdict.phase is Phase.DEFAULT


def test_active_users_beyond_the_limit_bring_no_penalty_since_none_would_help() -> None:
    manager = made(max_active=10, notices=0)
    watch = phases.watched(manager, Counts(active=12), CALM, NOW_MS)
    assert (watch.verdict.phase, watch.verdict.hold) == (Phase.DEFAULT, Hold.UNUSED)


@given(
    st.none() | st.integers(0, 30),
    st.none() | st.integers(0, 30),
    st.integers(0, 3),
    st.integers(0, 600),
    st.lists(st.tuples(st.integers(0, 200_000), st.integers(0, 35)), max_size=30),
)
def test_a_limit_that_is_reached_always_blocks_and_a_penalty_always_follows_its_notices(
    online: int | None, active: int | None, notices: int, penalty_s: int, looks: list[tuple[int, int]]
) -> None:
    manager = made(max_online=online, max_active=active, notices=notices, penalty_s=penalty_s)
    watch, now_ms, given = CALM, NOW_MS, 0
    for passed_ms, count in looks:
        now_ms += passed_ms
        before, watch = watch, phases.watched(manager, Counts(online=count, active=count), watch, now_ms)
        given += watch.notices > before.notices
        if online is not None and count >= online:
            assert watch.verdict.hold & (Hold.OFFLINE | Hold.EVERYBODY)
        if active is not None and count >= active:
            assert watch.verdict.hold & (Hold.UNUSED | Hold.EVERYBODY)
        if watch.penalty_until_ms > before.penalty_until_ms:
            assert given >= notices
            assert watch.penalty_until_ms == now_ms + penalty_s * 1_000
            given = 0
        assert (watch.verdict.phase is Phase.PENALTY) == (now_ms < watch.penalty_until_ms)
