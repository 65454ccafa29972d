"""History as it is read on both engines: closed and open hours, whatever has moved."""

import pytest

from collector.domain import history as rules
from collector.domain.history import Amount, Order, Span
from collector.store import history
from collector.store.session import Session
from shared.names import MAX_BYTES, UserId
from tests.collector.store import past
from tests.collector.store.past import EVERYTHING, MONTH, NOW_HOUR, row
from tests.kit.stores import Store

JANUARY = rules.hours_of_month(MONTH)
FEBRUARY = rules.hours_of_month(MONTH + 1)


@pytest.mark.parametrize("seed", range(8))
def test_every_way_of_asking_shows_the_same_hours_before_and_after_they_move(store: Store, seed: int) -> None:
    with past.opened(store) as one:
        one.add(*past.rows(seed, 10 * seed))
        meters = {(moved.user, moved.endpoint): moved for moved in past.rows(seed + 100, 6)}
        one.open(*meters.values())
        one.check()
        one.move()
        one.check()
        one.add(*past.rows(seed + 200, seed))
        one.check()
        if seed % 2:
            one.move()
        for span in (JANUARY, FEBRUARY, Span(JANUARY.past - 5, FEBRUARY.first + 5), Span(5, 5)):
            one.check(span)


def test_sums_larger_than_a_column_are_right(store: Store) -> None:
    full = [MAX_BYTES] * 4
    with past.opened(store) as one:
        one.add(*(row(JANUARY.first, *full, user=user, endpoint=user % 3 + 1) for user in (1, 2)))
        one.add(*(row(JANUARY.first + 1, *full, user=1, endpoint=place) for place in (1, 2, 3)))
        found = one.db.read_now(history.of_user, UserId(1), EVERYTHING)
        assert found[JANUARY.first + 1] == Amount(*[3 * MAX_BYTES] * 4)
        ranked = one.db.read_now(history.top_users, EVERYTHING, Order.RAW, 5)
        assert ranked == [(1, Amount(*[4 * MAX_BYTES] * 4)), (2, Amount(*full))]


def test_an_hour_that_is_full_stays_full_and_fails_no_report(store: Store) -> None:
    with past.opened(store) as one:
        for _ in range(3):
            one.db.write_now(history.add, [row(5, MAX_BYTES, 1, MAX_BYTES - 1, 0)])
        found = one.db.read_now(history.of_user, UserId(1), EVERYTHING)
        assert found == {5: Amount(MAX_BYTES, 3, MAX_BYTES, 0)}


def test_a_meter_that_is_named_twice_in_one_hour_counts_twice(store: Store) -> None:
    with past.opened(store) as one:
        one.add(row(JANUARY.first), row(JANUARY.first), row(JANUARY.first, user=2))
        one.check()


def test_a_ledgers_open_hours_become_history_as_they_were_shown(store: Store) -> None:
    with past.opened(store) as one:
        one.add(row(NOW_HOUR), row(NOW_HOUR, user=2, endpoint=3))
        one.open(row(NOW_HOUR, 5, 6, 7, 8), row(NOW_HOUR - 1, user=2), row(NOW_HOUR, user=3, endpoint=2))
        one.open(row(NOW_HOUR, 0, 0, 0, 0, user=4), row(NOW_HOUR, user=5, endpoint=3))
        one.db.write_now(history.close, 1)
        one.db.write_now(_open_anew)
        one.check()
        assert one.count() == 4


def test_what_is_older_than_the_retention_is_forgotten(store: Store) -> None:
    with past.opened(store) as one:
        one.add(*past.rows(1, 100))
        for _ in range(2):
            one.move(months=1)
            for key in [key for key in one.truth if key[0] < JANUARY.past]:
                del one.truth[key]
            one.check()
            one.add(row(JANUARY.first + 1), row(FEBRUARY.first + 1))


def _open_anew(session: Session) -> None:
    session.run(
        "UPDATE opening SET up_bytes = m.up_bytes, down_bytes = m.down_bytes,"
        " billed_up_bytes = m.billed_up_bytes, billed_down_bytes = m.billed_down_bytes FROM meter AS m"
        " WHERE opening.ledger_id = 1 AND m.ledger_id = 1 AND m.user_id = opening.user_id"
        " AND m.endpoint_id = opening.endpoint_id"
    )
