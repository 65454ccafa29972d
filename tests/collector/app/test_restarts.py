"""Starts: a restored backup must not give a number to two people."""

import pytest

from collector.app import restarts
from collector.domain.refusals import Refused
from tests.collector.app import fleet as made
from tests.collector.app.fleet import NOW_MS
from tests.kit.stores import Store

DAY_MS = 86_400_000


def test_a_number_given_out_after_a_backup_is_not_given_again_once_it_is_restored(store: Store) -> None:
    with made.opened(store) as fleet:
        fleet.user(1)
    today = store.copied()
    with made.reopened(today) as fleet:
        fleet.db.write_now(restarts.begin, NOW_MS + 1_000)
        after_backup = fleet.user(2)
    today.remove()
    with made.reopened(store) as fleet:
        fleet.db.write_now(restarts.begin, NOW_MS + DAY_MS)
        assert fleet.user(3).id > after_backup.id + 1_000
        assert fleet.user(4).id == fleet.user(5).id - 1


def test_a_quick_restart_goes_on_counting(store: Store) -> None:
    with made.opened(store) as fleet:
        first = fleet.user(1)
    with made.reopened(store) as fleet:
        fleet.db.write_now(restarts.begin, NOW_MS + 60_000)
        assert fleet.user(2).id == first.id + 1


def test_a_host_that_does_not_know_the_zone_of_a_user_is_told_at_the_start(store: Store) -> None:
    with made.opened(store) as fleet:
        fleet.user()
        fleet.db.write_now(lambda session: session.run("UPDATE \"user\" SET zone = 'Mars/Olympus'"))
        with pytest.raises(Refused, match=r"Mars/Olympus.*tzdata"):
            fleet.db.write_now(restarts.begin, NOW_MS)
