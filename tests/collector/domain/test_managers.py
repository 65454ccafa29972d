"""What becomes of a manager through bytes, time and those who may change him."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.domain import managers, validity
from collector.domain.managers import Manager, ManagerChanges, NewManager
from collector.domain.resets import Anchor, Mode
from collector.domain.users import Status

NOW_MS = 1_800_000_000_000
HOUR_S = 3_600
_MANAGERS = st.builds(
    NewManager,
    name=st.just("ada"),
    quota_bytes=st.none() | st.integers(0, 300),
    reset=st.sampled_from(Mode),
    reset_anchor=st.sampled_from(Anchor),
    duration_s=st.none() | st.integers(1, 5_000 * HOUR_S),
    start_at_ms=st.none() | st.integers(NOW_MS - 10**9, NOW_MS + 10**9),
)
_STEPS = st.lists(
    st.tuples(st.integers(0, 400 * HOUR_S), st.integers(0, 100), st.booleans()), min_size=1, max_size=20
)


@given(_MANAGERS, _STEPS)
def test_bytes_alone_and_bytes_with_a_clock_lead_to_the_same_manager(
    new: NewManager, steps: list[tuple[int, int, bool]]
) -> None:
    alone = clocked = managers.fresh(new, NOW_MS)
    now_ms = NOW_MS
    for passed_s, up_bytes, ticks in steps:
        moment_ms = now_ms + passed_s * 500
        clocked = managers.advanced(clocked, moment_ms) if ticks else clocked
        now_ms += passed_s * 1_000
        alone, clocked = (managers.charged(one, up_bytes, 1, now_ms) for one in (alone, clocked))
        assert alone == clocked
        assert alone.due_ms is None or alone.due_ms > now_ms
        limit = alone.quota_bytes
        if alone.status is Status.ACTIVE:
            assert limit is None or alone.used.total < limit
    assert alone.life_up_bytes == sum(step[1] for step in steps)
    assert alone.life_down_bytes == len(steps)


@given(_MANAGERS, st.integers(0, 10**10))
def test_whoever_is_switched_off_stays_so_until_he_is_switched_on(new: NewManager, later_ms: int) -> None:
    off = managers.changed(managers.fresh(new, NOW_MS), ManagerChanges(active=False), NOW_MS)
    after = managers.charged(managers.advanced(off, NOW_MS + later_ms), 1, 1, NOW_MS + later_ms)
    assert after.switched_off
    on = managers.changed(after, ManagerChanges(active=True), NOW_MS + later_ms)
    assert not on.switched_off


def test_a_higher_limit_lifts_the_stop_for_the_old_one() -> None:
    used = managers.charged(managers.fresh(NewManager(name="a", quota_bytes=10), NOW_MS), 4, 6, NOW_MS)
    assert used.standing == (Status.SUSPENDED, "quota")
    assert managers.changed(used, ManagerChanges(quota_bytes=11), NOW_MS).served
    assert managers.changed(used, ManagerChanges(name="b"), NOW_MS).standing == used.standing


def test_limits_by_direction_count_by_direction() -> None:
    manager = managers.fresh(NewManager(name="a", up_limit_bytes=10), NOW_MS)
    assert managers.charged(manager, 9, 1_000, NOW_MS).served
    assert not managers.charged(manager, 10, 0, NOW_MS).served


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"name": "a\nb"}, "name"),
        ({"quota_bytes": -1}, "quota_bytes"),
        ({"up_limit_bytes": 2**63}, "up_limit_bytes"),
        ({"max_sessions": -1}, "max_sessions"),
        ({"max_active": 2**31}, "max_active"),
        ({"notice_percent": 0}, "notice_percent"),
        ({"notice_percent": 101}, "notice_percent"),
        ({"notices": -1}, "notices"),
        ({"penalty_s": -1}, "penalty_s"),
        ({"penalty_s": 10**9}, "penalty_s"),
        ({"zone": "Mars/Olympus"}, "zone"),
        ({"duration_s": 0}, "duration_s"),
    ],
    ids=str,
)
def test_a_wrong_field_of_a_new_or_a_changed_manager_is_named(fields: dict[str, Any], wrong: str) -> None:
    new = NewManager(**({"name": "ada"} | fields))
    changes = ManagerChanges(**fields)
    old: Manager = managers.fresh(NewManager(name="ada"), NOW_MS)
    assert list(managers.wrong(new, validity.asked(new))) == [wrong]
    assert list(managers.wrong(changes, validity.changed(old.validity, changes))) == [wrong]


def test_null_is_no_limit_and_absent_fields_stay() -> None:
    manager = managers.fresh(NewManager(name="a", max_online=5, max_active=7), NOW_MS)
    after = managers.changed(manager, ManagerChanges(max_online=None), NOW_MS)
    assert (after.max_online, after.max_active, after.name) == (None, 7, "a")
