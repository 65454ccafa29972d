"""A collector restored from a backup: what is lent already is not lent again, and nobody is cut for it."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent import ledger
from collector.app import events, nodes, restarts
from collector.domain import learning
from collector.store.session import Session
from shared.names import UserId
from tests.collector.app import borrowers
from tests.collector.app import fleet as made
from tests.collector.app.borrowers import Borrower
from tests.collector.app.fleet import ADMIN, NOW_MS, Fleet
from tests.collector.app.resellers import Resellers
from tests.kit import remembered
from tests.kit.stores import Store

GB = 10**9
MB = 10**6
DAY_MS = 86_400_000
#: When the older copy is started: as far from its last word as a gap must be, and more.
LATER_MS = NOW_MS + 3_600_000


@dataclass
class Story:
    """Two nodes, and one user with a limit who is on both; what happens before a backup and after it."""

    store: Store
    folder: Path
    a: Borrower
    b: Borrower
    user: UserId

    def goes_back(self, meanwhile: Callable[[Fleet], None], *, at_ms: int = LATER_MS) -> Iterator[Fleet]:
        """Back up, let something happen, restore the backup and start it at this moment."""
        older = self.store.copied()
        with made.reopened(self.store) as fleet:
            meanwhile(fleet)
        with made.reopened(older) as fleet:
            fleet.db.write_now(restarts.begin, at_ms)
            yield fleet
            fleet.db.write_now(remembered.rightly)
        older.remove()

    def lend_to_a(self, fleet: Fleet) -> None:
        """Let the first node have most of the limit."""
        self.a.report(fleet, NOW_MS)
        self.a.serve(self.user, MB)
        self.a.report(fleet, NOW_MS + 1)
        assert self.a.ceiling(self.user) > GB // 2

    def kept(self) -> bool:
        """Whether what was and may be served is within the limit."""
        return sum(one.moved.get(self.user, 0) + one.left(self.user) for one in (self.a, self.b)) <= GB


@pytest.fixture
def story(store: Store, tmp_path: Path) -> Iterator[Story]:
    with made.opened(store) as fleet:
        a, b = (borrowers.borrower(fleet, tmp_path, name) for name in ("a", "b"))
        user = fleet.user(quota_bytes=GB).id
        borrowers.place(fleet, user, a, b)
    with closing(a.book), closing(b.book):
        yield Story(store, tmp_path, a, b, user)


def _rest(story: Story, fleet: Fleet, now_ms: int, most: int = GB) -> int:
    """Let the second node serve whatever it is lent, so many bytes at most."""
    served = 0
    for _ in range(60):
        story.b.report(fleet, now_ms)
        assert story.kept()
        served += story.b.serve(story.user, min(50 * MB, most - served))
    return served


def _learned(fleet: Fleet, one: Borrower, now_ms: int) -> None:
    while one.report(fleet, now_ms).learning:
        pass


def test_what_was_lent_after_the_backup_is_not_lent_to_another_node(story: Story) -> None:
    for fleet in story.goes_back(story.lend_to_a):
        held = story.a.ceiling(story.user)
        assert _rest(story, fleet, LATER_MS) == 0
        assert story.a.ceiling(story.user) == held
        assert fleet.db.read_now(nodes.one, story.a.node, LATER_MS).learning_ms == LATER_MS
        _learned(fleet, story.a, LATER_MS)
        assert fleet.db.read_now(nodes.one, story.a.node, LATER_MS).learning_ms is None
        assert _rest(story, fleet, LATER_MS) > 0
        assert story.a.ceiling(story.user) == held
        story.a.give_back(story.user)
        story.a.report(fleet, LATER_MS)
        _rest(story, fleet, LATER_MS)
        assert story.b.moved[story.user] >= GB * 95 // 100


def test_what_was_given_back_after_the_backup_is_not_given_again(story: Story) -> None:
    def given_back(fleet: Fleet) -> None:
        story.a.give_back(story.user)
        story.a.report(fleet, NOW_MS + 2)
        assert _rest(story, fleet, NOW_MS + 3, most=GB * 9 // 10) == GB * 9 // 10

    with made.reopened(story.store) as fleet:
        story.lend_to_a(fleet)
    for fleet in story.goes_back(given_back):
        for _ in range(5):
            story.a.serve(story.user, 20 * MB)
            story.a.report(fleet, LATER_MS)
            story.b.report(fleet, LATER_MS)
            assert story.kept()


def test_a_young_backup_is_found_out_by_the_first_serial_and_every_node_is_asked(story: Story) -> None:
    at_ms = NOW_MS + 30_000
    for fleet in story.goes_back(story.lend_to_a, at_ms=at_ms):
        assert story.a.report(fleet, at_ms).learning == at_ms
        assert story.b.report(fleet, at_ms).learning == at_ms
        assert [one.kind for one in fleet.db.read_now(events.page, 0, 1_000)].count("RESTORE_PROVEN") == 1
        _learned(fleet, story.a, at_ms)
        _learned(fleet, story.b, at_ms)
        assert story.kept()


def test_a_user_waits_for_his_own_nodes_only(story: Story) -> None:
    for fleet in story.goes_back(lambda _: None):
        alone = fleet.user(2, quota_bytes=GB).id
        borrowers.place(fleet, alone, story.b)
        story.b.report(fleet, LATER_MS)
        assert story.b.ceiling(alone) == 0
        _learned(fleet, story.b, LATER_MS)
        story.b.report(fleet, LATER_MS)
        assert story.b.ceiling(alone) > GB // 2
        assert story.b.ceiling(story.user) == 0


def test_he_waits_for_a_node_he_was_taken_from(story: Story) -> None:
    def lent(fleet: Fleet) -> None:
        story.lend_to_a(fleet)

    for fleet in story.goes_back(lent):
        borrowers.place(fleet, story.user, story.b)
        _learned(fleet, story.b, LATER_MS)
        assert _rest(story, fleet, LATER_MS) == 0


def test_a_report_that_was_under_way_is_no_answer(story: Story) -> None:
    with made.reopened(story.store) as fleet:
        story.a.report(fleet, NOW_MS)
        early = story.a.words()[1]
    late = {}

    def lent(fleet: Fleet) -> None:
        story.lend_to_a(fleet)
        late["said"] = early

    for fleet in story.goes_back(lent):
        assert borrowers.send(fleet, story.a.node, late["said"], LATER_MS).learning == LATER_MS
        _learned(fleet, story.b, LATER_MS)
        assert _rest(story, fleet, LATER_MS) == 0


def test_a_part_of_an_answer_that_came_out_of_order_is_told_again(story: Story) -> None:
    for fleet in story.goes_back(story.lend_to_a):
        assert story.a.report(fleet, LATER_MS).learning == LATER_MS
        sequence, story.a.sequence = story.a.sequence, 0
        assert story.a.report(fleet, LATER_MS).learning == 0
        _learned(fleet, story.b, LATER_MS)
        assert _rest(story, fleet, LATER_MS) == 0
        story.a.sequence = sequence
        assert story.a.report(fleet, LATER_MS).learning == LATER_MS
        assert story.a.report(fleet, LATER_MS).learning == 0
        assert _rest(story, fleet, LATER_MS) > 0


def test_nothing_is_lent_before_the_last_part_of_an_answer(story: Story) -> None:
    story.a.most = 1

    def lent(fleet: Fleet) -> None:
        for number in (2, 3):
            other = fleet.user(number, quota_bytes=GB).id
            borrowers.place(fleet, other, story.a)
        for moment in (0, 1):
            story.a.report(fleet, NOW_MS + moment)
            for user in story.a.loans.terms:
                story.a.serve(user, MB)

    for fleet in story.goes_back(lent):
        _learned(fleet, story.b, LATER_MS)
        assert story.a.report(fleet, LATER_MS).learning
        for left in (2, 1):
            answer = story.a.report(fleet, LATER_MS)
            assert answer.learning
            assert answer.leases == []
            assert len(story.a.loans.untold) == left
            assert _rest(story, fleet, LATER_MS) == 0
        assert not story.a.report(fleet, LATER_MS).learning
        assert story.kept()


def test_a_node_that_lost_its_disk_answers_for_its_older_ledgers(story: Story) -> None:
    with made.reopened(story.store) as fleet:
        story.a.report(fleet, NOW_MS)
    for fleet in story.goes_back(lambda _: None):
        _learned(fleet, story.b, LATER_MS)
        story.a.book.close()
        (story.folder / "a.db").unlink()
        story.a = Borrower(story.a.node, story.a.endpoint, ledger.open_ledger(story.folder / "a2.db"))
        story.a.serves(story.user)
        _learned(fleet, story.a, LATER_MS)
        assert _rest(story, fleet, LATER_MS) > GB // 2


@pytest.mark.parametrize("ends", ["revoked", "fenced"])
def test_a_node_that_cannot_serve_any_more_is_not_waited_for(story: Story, ends: str) -> None:
    for fleet in story.goes_back(lambda _: None):
        _learned(fleet, story.b, LATER_MS)
        now_ms = LATER_MS
        if ends == "revoked":
            fleet.db.write_now(nodes.revoke, story.a.node, ADMIN, LATER_MS)
        else:
            assert _rest(story, fleet, LATER_MS + learning.TERM_MS - 1) == 0
            now_ms += learning.TERM_MS
        assert _rest(story, fleet, now_ms) > GB // 2


def test_a_node_that_heard_the_question_and_went_away_is_waited_for_from_then_on(story: Story) -> None:
    heard_ms = LATER_MS + DAY_MS // 2
    for fleet in story.goes_back(story.lend_to_a):
        _learned(fleet, story.b, LATER_MS)
        assert story.a.report(fleet, heard_ms).learning == heard_ms
        assert _rest(story, fleet, heard_ms + DAY_MS) == 0


def test_nodes_that_nobody_enrolled_are_not_waited_for(story: Story) -> None:
    with made.reopened(story.store) as fleet:
        idle = borrowers.borrower(fleet, story.folder, "idle", enrolled=False)
        borrowers.place(fleet, story.user, story.a, story.b, idle)
    with closing(idle.book):
        for fleet in story.goes_back(lambda _: None):
            _learned(fleet, story.a, LATER_MS)
            _learned(fleet, story.b, LATER_MS)
            assert _rest(story, fleet, LATER_MS) > GB // 2


def test_a_node_that_makes_up_serials_stops_no_other_a_second_time(story: Story) -> None:
    for fleet in story.goes_back(lambda _: None, at_ms=NOW_MS + 1):
        for serial in (1_000, 2_000):
            story.a.book.serial = serial
            assert story.a.report(fleet, NOW_MS + serial).learning == NOW_MS + serial
            _learned(fleet, story.a, NOW_MS + serial)
        assert story.b.report(fleet, NOW_MS + 2_000).learning == NOW_MS + 1_000


def test_a_quick_restart_asks_nobody_and_lends_on(story: Story) -> None:
    with made.reopened(story.store) as fleet:
        story.lend_to_a(fleet)
    with made.reopened(story.store) as fleet:
        fleet.db.write_now(restarts.begin, NOW_MS + 10_000)
        assert story.a.report(fleet, NOW_MS + 10_000).learning == 0
        assert _rest(story, fleet, NOW_MS + 10_000) > 0


def test_a_restart_goes_on_asking_whoever_has_not_answered(story: Story) -> None:
    for fleet in story.goes_back(story.lend_to_a):
        fleet.db.write_now(lambda session: session.hot.forget_all())
        fleet.db.write_now(restarts.begin, LATER_MS + 10_000)
        assert story.a.report(fleet, LATER_MS + 10_000).learning == LATER_MS


def test_whoever_shares_a_managers_limit_waits_for_the_nodes_of_the_others(
    store: Store, tmp_path: Path
) -> None:
    with made.opened(store) as fleet:
        a, b = (borrowers.borrower(fleet, tmp_path, name) for name in ("a", "b"))
        resellers = Resellers(fleet)
        top = resellers.made("top", quota_bytes=GB)
        left, right = resellers.made("left", parent=top), resellers.made("right", parent=top)
        free = resellers.made("free")
        ada, bob, eve = (
            fleet.user(number, manager=manager.id, quota_bytes=quota).id
            for number, manager, quota in ((1, left, None), (2, right, None), (3, free, GB))
        )
        borrowers.place(fleet, ada, a)
        borrowers.place(fleet, bob, b)
        borrowers.place(fleet, eve, b)
    older = store.copied()
    with closing(a.book), closing(b.book):
        with made.reopened(store) as fleet:
            moved = _uses_up(fleet, a, ada)
        assert moved > GB * 9 // 10
        with made.reopened(older) as fleet:
            fleet.db.write_now(restarts.begin, LATER_MS)
            _learned(fleet, b, LATER_MS)
            b.report(fleet, LATER_MS)
            assert b.ceiling(bob) == 0
            assert b.ceiling(eve) > 0
            _learned(fleet, a, LATER_MS)
            b.report(fleet, LATER_MS)
            assert moved + a.left(ada) + b.ceiling(bob) <= GB
            assert b.ceiling(bob) > 0
            assert _held(fleet, top.id) == a.left(ada) + b.left(bob)
    older.remove()


def _uses_up(fleet: Fleet, one: Borrower, user: UserId) -> int:
    for step in range(40):
        one.report(fleet, NOW_MS + step)
        one.serve(user, 25 * MB)
    return one.moved[user]


def _held(fleet: Fleet, manager: int) -> int:
    def held(session: Session) -> int:
        rows = session.rows("SELECT held_total_bytes FROM manager_counter WHERE manager_id = ?", (manager,))
        return int(rows[0][0])

    return fleet.db.read_now(held)
