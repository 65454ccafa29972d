"""Roll-up: what is billed below arrives at everybody above, once, whatever the tree and whoever writes."""

import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from collector.domain import managers as rules
from collector.domain.leases import Bytes
from collector.domain.managers import Manager, NewManager
from collector.domain.resets import Mode
from collector.domain.users import Status
from collector.store import managers
from collector.store.database import Database
from collector.store.session import Session
from shared.names import MAX_BYTES, ManagerId
from tests.kit.stores import Store

NOW_MS = 1_800_000_000_000
DAY_MS = 86_400_000
#: The place of each manager's parent among those before him; -1: none.
_TREES = st.lists(st.integers(-1, 8), min_size=1, max_size=9)
_SUMS = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 1_000), st.integers(0, 1_000)), max_size=30)


class _UndoneError(Exception):
    """Takes back what an example wrote."""


@pytest.fixture
def db(store: Store) -> Iterator[Database]:
    one = store.open()
    yield one
    one.close()


def planted(session: Session, parents: list[int], /, **fields: Any) -> list[ManagerId]:  # noqa: ANN401 - as NewManager has them
    """A tree; `fields` are those of every manager."""
    made: list[ManagerId] = []
    for place, parent in enumerate(parents):
        above = made[parent % place] if place and parent >= 0 else None
        new = NewManager(name=f"m-{place}", parent=above, **fields)
        made.append(managers.insert(session, rules.fresh(new, NOW_MS)).id)
    return made


def line(session: Session, leaf: ManagerId) -> tuple[Manager, ...]:
    return managers.chains(session, [leaf])[leaf]


def _undone(db: Database, work: Callable[[Session], object]) -> None:
    def example(session: Session) -> None:
        work(session)
        raise _UndoneError

    with pytest.raises(_UndoneError):
        db.write_now(example)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_TREES, _SUMS, st.none() | st.integers(1, 3_000), st.sampled_from([Mode.NEVER, Mode.HOURLY]))
def test_every_manager_has_exactly_the_bytes_of_everybody_below_him(
    db: Database, parents: list[int], sums: list[tuple[int, int, int]], quota: int | None, mode: Mode
) -> None:
    def work(session: Session) -> None:
        made = planted(session, parents, quota_bytes=quota, reset=mode)
        billed = {one: [0, 0] for one in made}
        for step, (place, up, down) in enumerate(sums):
            leaf = made[place % len(made)]
            now_ms = NOW_MS + step * 20 * 60_000
            before = {one.id: rules.advanced(one, now_ms) for one in managers.every(session)}
            turns = managers.roll_up(session, {leaf: (up, down)}, now_ms)
            for one in line(session, leaf):
                billed[one.id][0] += up
                billed[one.id][1] += down
                # The database's sums are what the pure decision says.
                assert one == rules.charged(before[one.id], up, down, now_ms)
                assert one.served == (quota is None or one.used.total < quota)
            for turn in turns:
                assert rules.differs(*turn)
        for one in managers.every(session):
            assert [one.life_up_bytes, one.life_down_bytes] == billed[one.id]
        tops = [one for one in managers.every(session) if one.parent is None]
        assert sum(one.life_up_bytes for one in tops) == sum(up for _, up, _ in sums)
        assert sum(one.life_down_bytes for one in tops) == sum(down for _, _, down in sums)

    _undone(db, work)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_TREES, _SUMS)
def test_one_roll_up_of_many_managers_is_many_of_one(
    db: Database, parents: list[int], sums: list[tuple[int, int, int]]
) -> None:
    def work(session: Session, *, together: bool) -> None:
        made = planted(session, parents, quota_bytes=500)
        wanted: dict[ManagerId, tuple[int, int]] = {}
        for place, up, down in sums:
            leaf = made[place % len(made)]
            so_far = wanted.get(leaf, (0, 0))
            wanted[leaf] = (so_far[0] + up, so_far[1] + down)
        for part in [wanted] if together else [{leaf: moved} for leaf, moved in wanted.items()]:
            managers.roll_up(session, part, NOW_MS)
        found.append([(one.up_bytes, one.down_bytes) for one in managers.every(session)])

    found: list[list[tuple[int, int]]] = []
    for together in (True, False):
        _undone(db, functools.partial(work, together=together))
    assert found[0] == found[1]


def test_nothing_is_lost_when_many_threads_write(db: Database) -> None:
    made = db.write_now(planted, [-1, 0, 0, 1, 1])
    leaves, threads, each = made[1:], 8, 40

    def write(thread: int) -> None:
        for number in range(each):
            db.write_now(managers.roll_up, {leaves[(thread + number) % 4]: (1, 2)}, NOW_MS)
            db.write_now(managers.reserve, {leaves[number % 4]: Bytes(3, 1, 2)})

    running = [threading.Thread(target=write, args=(thread,)) for thread in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    (root,) = (manager for manager in db.read_now(managers.every) if manager.parent is None)
    assert (root.up_bytes, root.down_bytes) == (threads * each, 2 * threads * each)
    assert root.held == Bytes(3 * threads * each, threads * each, 2 * threads * each)


def test_a_period_that_is_over_ends_before_its_next_bytes_at_every_height(db: Database) -> None:
    def work(session: Session) -> None:
        top, leaf = planted(session, [-1, 0], reset=Mode.DAILY, quota_bytes=100)
        (told, _) = managers.roll_up(session, {leaf: (0, 100)}, NOW_MS)
        assert (told.before.served, told.after.status) == (True, Status.SUSPENDED)
        turns = managers.roll_up(session, {leaf: (0, 7)}, NOW_MS + DAY_MS)
        assert {turn.after.id for turn in turns} == {top, leaf}
        for one in line(session, leaf):
            assert (one.down_bytes, one.life_down_bytes, one.status) == (7, 107, Status.ACTIVE)
            assert one.period_start_ms == NOW_MS - NOW_MS % DAY_MS + DAY_MS

    _undone(db, work)


def test_a_manager_who_comes_near_a_limit_is_told_once(db: Database) -> None:
    def work(session: Session) -> None:
        (only,) = planted(session, [-1], quota_bytes=100, notice_percent=80)
        told = [bool(managers.roll_up(session, {only: (0, 40)}, NOW_MS)) for _ in range(4)]
        assert told == [False, True, True, False]

    _undone(db, work)


def test_a_counter_that_is_full_stays_full(db: Database) -> None:
    def work(session: Session) -> None:
        (only,) = planted(session, [-1])
        for _ in range(3):
            managers.roll_up(session, {only: (MAX_BYTES - 1, 2)}, NOW_MS)
        (one,) = managers.every(session)
        assert (one.up_bytes, one.down_bytes, one.life_up_bytes) == (MAX_BYTES, 6, MAX_BYTES)

    _undone(db, work)


def test_what_is_given_back_never_makes_a_holding_negative(db: Database) -> None:
    def work(session: Session) -> None:
        top, leaf = planted(session, [-1, 0])
        managers.reserve(session, {leaf: Bytes(5, 2, 3)})
        managers.reserve(session, {top: Bytes(-2, -2, 0), leaf: Bytes(-3, -3, 0)})
        assert [one.held for one in managers.every(session)] == [Bytes(0, 0, 3), Bytes(2, 0, 3)]

    _undone(db, work)


def test_a_line_of_five_hundred_managers_is_charged_to_its_root(db: Database) -> None:
    def work(session: Session) -> None:
        made = planted(session, [-1, *range(499)])
        managers.roll_up(session, {made[-1]: (1, 1)}, NOW_MS)
        assert {one.up_bytes for one in managers.every(session)} == {1}
        assert [one.id for one in line(session, made[-1])] == made[::-1]
        assert [one.id for one in managers.below(session, made[250])] == made[250:]

    _undone(db, work)


def test_bytes_below_a_removed_manager_reach_those_above_him_and_his_name_is_free(db: Database) -> None:
    def work(session: Session) -> None:
        top, middle, leaf = planted(session, [-1, 0, 1])
        managers.remove(session, middle, NOW_MS)
        managers.roll_up(session, {leaf: (4, 0)}, NOW_MS)
        assert [one.up_bytes for one in line(session, leaf)] == [4, 4, 4]
        assert [one.id for one in managers.every(session)] == [top, leaf]
        assert managers.holder(session, "m-1") is None

    _undone(db, work)


def test_a_manager_is_read_as_he_was_written(db: Database) -> None:
    def work(session: Session) -> None:
        new = NewManager(
            name="ada",
            quota_bytes=1,
            up_limit_bytes=2,
            down_limit_bytes=3,
            max_sessions=4,
            max_online=5,
            max_active=6,
            notice_percent=7,
            notices=8,
            penalty_s=9,
            reset=Mode.WEEKLY,
            reset_day=2,
            zone="Asia/Tehran",
            duration_s=10,
            start_at_ms=NOW_MS,
        )
        made = managers.insert(session, rules.fresh(new, NOW_MS))
        assert managers.one(session, made.id) == made
        managers.save(session, made)
        assert managers.one(session, made.id) == made

    _undone(db, work)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_TREES, st.lists(st.tuples(*[st.integers(0, 1_000)] * 3, st.none() | st.integers(1, 20_000))))
def test_what_is_remembered_of_managers_is_what_would_be_read(
    db: Database, parents: list[int], steps: list[tuple[int, int, int, int | None]]
) -> None:
    def work(session: Session) -> None:
        made = planted(session, parents, quota_bytes=2_000)
        for place, up, down, quota in steps:
            leaf = made[place % len(made)]
            managers.roll_up(session, {leaf: (up, down)}, NOW_MS)
            if quota is not None:
                (manager, *_) = line(session, leaf)
                managers.save(session, structs.replace(manager, quota_bytes=quota))
            _compare(session)

    _undone(db, work)


def _compare(session: Session) -> None:
    """Rooms may be smaller than what would be read: they count every byte, by whatever limit."""
    remembered = session.hot.managers
    session.hot.forget_managers()
    managers.roll_up(session, dict.fromkeys(remembered, (0, 0)), NOW_MS)
    read, session.hot.managers = session.hot.managers, remembered
    for number, place in remembered.items():
        assert (place.parent, place.due_ms) == (read[number].parent, read[number].due_ms)
        assert place.room <= read[number].room


def test_bytes_reach_who_stands_above_a_manager_after_he_was_moved(db: Database) -> None:
    def work(session: Session) -> None:
        old, new, leaf = planted(session, [-1, -1, 0])
        managers.roll_up(session, {leaf: (1, 0)}, NOW_MS)
        (moved, *_) = line(session, leaf)
        managers.save(session, structs.replace(moved, parent=new))
        managers.roll_up(session, {leaf: (10, 0)}, NOW_MS)
        assert [one.up_bytes for one in managers.every(session)] == [1, 10, 11]
        assert [one.id for one in managers.every(session)] == [old, new, leaf]

    db.write_now(work)


def test_a_manager_whose_change_was_undone_is_charged_as_he_was(db: Database) -> None:
    _, new, leaf = made = db.write_now(planted, [-1, -1, 0])
    db.write_now(managers.roll_up, {leaf: (1, 0)}, NOW_MS)

    def move(session: Session) -> None:
        (moved, *_) = line(session, leaf)
        managers.save(session, structs.replace(moved, parent=new))
        managers.roll_up(session, {leaf: (100, 0)}, NOW_MS)

    _undone(db, move)
    db.write_now(managers.roll_up, {leaf: (10, 0)}, NOW_MS)
    assert {one.id: one.up_bytes for one in db.read_now(managers.every)} == dict(
        zip(made, (11, 0, 11), strict=True)
    )
