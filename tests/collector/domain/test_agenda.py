"""Whoever is noted comes out once, when his moment has come, and under his latest moment only."""

from hypothesis import given
from hypothesis import strategies as st

from collector.domain.agenda import Agenda

HOUR_MS = 3_600_000
notes = st.tuples(st.integers(1, 6), st.none() | st.integers(1, HOUR_MS))
looks = st.integers(0, 600_000)


@given(steps=st.lists(notes | looks, max_size=40))
def test_those_whose_moment_has_come_come_out_once(steps: list[tuple[int, int | None] | int]) -> None:
    agenda, truly, now_ms = Agenda(), dict[int, int](), 0
    for step in [*steps, 2 * HOUR_MS]:
        if isinstance(step, tuple):
            user, due_ms = step
            truly.pop(user, None)
            if due_ms is not None:
                truly[user] = due_ms
            agenda.note(user, due_ms)
            continue
        now_ms += step
        due = {user for user, due_ms in truly.items() if due_ms <= now_ms}
        assert sorted(agenda.come(now_ms)) == sorted(due)
        truly = {user: due_ms for user, due_ms in truly.items() if user not in due}
    assert not truly
