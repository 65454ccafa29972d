"""History as reports make it, and the periods of nodes that are worked out from it."""

import asyncio
from pathlib import Path

from collector.app import events, history, nodes, users
from collector.domain import history as rules
from collector.domain.events import Recorded
from collector.domain.history import Amount, By, History, Order, Question, Step
from collector.domain.nodes import NodeChanges, NodeView
from collector.domain.resets import Mode
from collector.store import months
from collector.tasks import clock
from collector.tasks import history as task
from tests.collector.app import fleet as made
from tests.collector.app.fleet import ADMIN, NOW_MS, Fleet

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
#: A full hour after the fleet was made: 15 January 2027, 08:00 UTC.
START_MS = NOW_MS // HOUR_MS * HOUR_MS + HOUR_MS
#: 1 February 2027.
FEBRUARY_MS = 1_801_440_000_000


def _question(from_ms: int, to_ms: int, step: Step = Step.HOUR) -> Question:
    return Question(from_ms=from_ms, to_ms=to_ms, step=step, zone="UTC")


def _moved(shown: History) -> list[tuple[int, int]]:
    return [(point.up, point.down) for point in shown.points]


def _tick(fleet: Fleet, now_ms: int) -> None:
    asyncio.run(clock.run(fleet.db, lambda _: None, lambda: now_ms))


def _change(fleet: Fleet, now_ms: int, **fields: object) -> None:
    changes = NodeChanges(**fields)  # type: ignore[arg-type]  # the fields of the test
    fleet.db.write_now(nodes.change, fleet.node.id, changes, ADMIN, now_ms)


def _shown(fleet: Fleet, now_ms: int) -> NodeView:
    return fleet.db.read_now(nodes.one, fleet.node.id, now_ms)


def _resets(fleet: Fleet) -> list[Recorded]:
    return [one for one in fleet.db.read_now(events.page, 0, 1_000) if one.kind == "NODE_RESET"]


def test_reports_make_hours_closed_and_open_ones_for_everybody_who_asks(fleet: Fleet) -> None:
    user, other = fleet.user(1), fleet.user(2)
    endpoint = fleet.endpoint.id
    fleet.report((user.id, endpoint, 10, 100), (other.id, endpoint, 1, 2), now_ms=START_MS + 5)
    fleet.report((user.id, endpoint, 30, 300), now_ms=START_MS + HOUR_MS + 5)
    fleet.report((user.id, endpoint, 60, 600), now_ms=START_MS + 3 * HOUR_MS + 5)
    now_ms = START_MS + 3 * HOUR_MS + 10
    question = _question(START_MS, 0)
    mine = [(10, 100), (20, 200), (0, 0), (30, 300)]
    assert _moved(fleet.db.read_now(history.of_user, user.id, question, now_ms)) == mine
    every = [(11, 102), *mine[1:]]
    assert _moved(fleet.db.read_now(history.of_node, fleet.node.id, question, now_ms)) == every
    assert _moved(fleet.db.read_now(history.of_endpoint, endpoint, question, now_ms)) == every
    assert _moved(fleet.db.read_now(history.of_all, question, now_ms)) == every
    for by in By:
        ranked = fleet.db.read_now(history.top, by, question, Order.RAW, 1, now_ms)[0]
        assert (ranked.up, ranked.down) == ((60, 600) if by is By.USER else (61, 602))
        assert ranked.name == {By.USER: "user-1", By.NODE: "node-1", By.ENDPOINT: "main"}[by]


def test_the_hours_of_a_user_add_up_to_what_was_billed_to_him(fleet: Fleet) -> None:
    user = fleet.user()
    fleet.db.write_now(lambda session: session.run("UPDATE endpoint SET factor_permille = 1500 WHERE id = 1"))
    for place in range(1, 30):
        totals = (7 * place * place, 13 * place)
        fleet.report((user.id, fleet.endpoint.id, *totals), now_ms=START_MS + place * HOUR_MS // 3)
    now_ms = START_MS + DAY_MS
    for step in Step:
        shown = fleet.db.read_now(history.of_user, user.id, _question(START_MS, 0, step), now_ms)
        assert (shown.billed_up, shown.billed_down) == fleet.used(user)
        assert (shown.up, shown.down) == (7 * 29 * 29, 13 * 29)


def test_who_was_removed_keeps_his_history_and_his_name(fleet: Fleet) -> None:
    user = fleet.user()
    fleet.report((user.id, fleet.endpoint.id, 10, 100), now_ms=START_MS)
    fleet.db.write_now(users.remove, user.id, ADMIN, START_MS + 1)
    fleet.report((user.id, fleet.endpoint.id, 15, 150), now_ms=START_MS + 2)
    question = _question(START_MS, 0)
    assert _moved(fleet.db.read_now(history.of_user, user.id, question, START_MS + 3)) == [(15, 150)]
    ranked = fleet.db.read_now(history.top, By.USER, question, Order.BILLED, 5, START_MS + 3)
    assert [one.name for one in ranked] == ["user-1"]


def test_a_node_shows_what_was_moved_in_its_period_and_begins_the_next_one_with_an_event(
    fleet: Fleet,
) -> None:
    user = fleet.user()
    fleet.report((user.id, fleet.endpoint.id, 10, 100), now_ms=START_MS + 5)
    always = _shown(fleet, START_MS + 10)
    assert (always.used_up, always.used_down, always.period_start_ms, always.next_reset_ms) == (
        10,
        100,
        0,
        None,
    )
    _change(fleet, START_MS + 10, reset=Mode.MONTHLY)
    assert _shown(fleet, START_MS + 10).next_reset_ms == FEBRUARY_MS
    fleet.report((user.id, fleet.endpoint.id, 30, 300), now_ms=FEBRUARY_MS - 5)
    fleet.report((user.id, fleet.endpoint.id, 31, 301), now_ms=FEBRUARY_MS + 5)
    before = _shown(fleet, FEBRUARY_MS - 1)
    assert (before.used_up, before.used_down) == (30, 300)
    _tick(fleet, FEBRUARY_MS - 1)
    assert not _resets(fleet)
    for _ in range(2):
        _tick(fleet, FEBRUARY_MS + 6)
        after = _shown(fleet, FEBRUARY_MS + 6)
        assert (after.used_up, after.used_down, after.period_start_ms) == (1, 1, FEBRUARY_MS)
        told = [one.data for one in _resets(fleet)]
        assert [(one["up_bytes"], one["down_bytes"]) for one in told] == [(30, 300)]
        assert told[0]["next_start_ms"] == FEBRUARY_MS


def test_a_nodes_period_in_which_nothing_was_moved_turns_without_an_event(fleet: Fleet) -> None:
    _change(fleet, START_MS, reset=Mode.DAILY, zone="Asia/Tehran")
    due_ms = _shown(fleet, START_MS).next_reset_ms
    assert due_ms is not None
    _tick(fleet, due_ms + 5 * DAY_MS)
    assert _shown(fleet, due_ms).period_start_ms == due_ms + 5 * DAY_MS
    assert not _resets(fleet)


def test_a_new_schedule_shows_its_own_period_at_once(fleet: Fleet) -> None:
    user = fleet.user()
    _change(fleet, START_MS, reset=Mode.YEARLY, reset_month=7, reset_day=1)
    fleet.report((user.id, fleet.endpoint.id, 10, 100), now_ms=START_MS + 5)
    assert _shown(fleet, START_MS + DAY_MS).used_up == 10
    _change(fleet, START_MS + DAY_MS, reset=Mode.DAILY)
    shown = _shown(fleet, START_MS + DAY_MS)
    assert (shown.used_up, shown.reset_day, shown.reset_month) == (0, None, None)
    assert not _resets(fleet)


def test_a_node_is_shown_and_turned_also_where_its_history_cannot_be_read(tmp_path: Path) -> None:
    with made.opened(tmp_path) as fleet:
        _lose_the_past(fleet, tmp_path)


def _lose_the_past(fleet: Fleet, directory: Path) -> None:
    user = fleet.user()
    _change(fleet, START_MS, reset=Mode.YEARLY)
    fleet.report((user.id, fleet.endpoint.id, 10, 100), now_ms=START_MS)
    fleet.report((user.id, fleet.endpoint.id, 20, 200), now_ms=FEBRUARY_MS)
    asyncio.run(task.run(fleet.db, 0, lambda: FEBRUARY_MS))
    assert _shown(fleet, FEBRUARY_MS).used_up == 20
    months.path(directory, rules.month_of(START_MS // HOUR_MS)).unlink()
    assert _shown(fleet, FEBRUARY_MS).used_up is None
    _tick(fleet, FEBRUARY_MS + 366 * DAY_MS)
    assert [one.data["up_bytes"] for one in _resets(fleet)] == [None]


def test_amounts_are_added_up_by_way() -> None:
    assert Amount(1, 2, 3, 4).plus(Amount(10, 20, 30, 40)) == Amount(11, 22, 33, 44)
