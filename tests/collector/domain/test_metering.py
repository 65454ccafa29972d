"""Merge by maximum, as properties."""

import random

from hypothesis import given
from hypothesis import strategies as st

from collector.domain import metering
from collector.domain.metering import Key, Known, Row, Seen
from collector.domain.quarantine import Cause
from shared.messages import Usage
from shared.names import EndpointId, UserId

USER, END = UserId(1), EndpointId(2)
FOREVER_MS = 10**12


def known(seen: dict[Key, Seen], **changes: int) -> Known:
    return Known(
        seen=seen,
        users={USER},
        placed={Key(USER, END)},
        factors={END: 1_000},
        quarantined=(),
        since_ms=0,
        link_mbps=changes.get("link_mbps", 100_000),
    )


@given(
    growth=st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**9)), min_size=1, max_size=20),
    seed=st.integers(),
    copies=st.integers(1, 3),
)
def test_any_order_with_any_repeats_bills_exactly_the_highest_totals(
    growth: list[tuple[int, int]], seed: int, copies: int
) -> None:
    totals, up, down = [], 0, 0
    for more_up, more_down in growth:
        up, down = up + more_up, down + more_down
        totals.append(Usage(USER, END, up, down))
    deliveries = totals * copies
    random.Random(seed).shuffle(deliveries)
    seen: dict[Key, Seen] = {}
    billed_up = billed_down = 0
    for row in deliveries:
        charges, held = metering.charge([Row(0, row, FOREVER_MS)], known(seen), FOREVER_MS)
        assert not held
        for one in charges:
            assert one.up >= 0
            assert one.down >= 0
            billed_up, billed_down = billed_up + one.up, billed_down + one.down
            seen[one.key] = one.seen._replace(last_ms=0)
    assert (billed_up, billed_down) == (up, down)


def test_two_rows_of_one_meter_in_a_report_are_billed_as_the_higher() -> None:
    rows = [Row(0, Usage(USER, END, 5, 1), FOREVER_MS), Row(1, Usage(USER, END, 3, 9), FOREVER_MS)]
    charges, held = metering.charge(rows, known({}), FOREVER_MS)
    assert [(one.up, one.down) for one in charges] == [(5, 1), (0, 8)]
    assert not held


def test_a_row_without_news_charges_nothing() -> None:
    seen = {Key(USER, END): Seen(5, 5, 5, 5, 0)}
    assert metering.charge([Row(0, Usage(USER, END, 5, 5), FOREVER_MS)], known(seen), FOREVER_MS) == ([], [])


def test_what_a_link_can_carry_in_the_time_is_billed_and_twice_that_is_held() -> None:
    seen = {Key(USER, END): Seen(0, 0, 0, 0, FOREVER_MS - 600_000)}
    ten_minutes_bytes = 600 * 1_000 * 125_000
    fits = metering.charge(
        [Row(0, Usage(USER, END, 0, ten_minutes_bytes), FOREVER_MS)], known(seen, link_mbps=1_000), FOREVER_MS
    )
    assert [one.down for one in fits[0]] == [ten_minutes_bytes]
    twice = metering.charge(
        [Row(0, Usage(USER, END, 0, 2 * ten_minutes_bytes), FOREVER_MS)],
        known(seen, link_mbps=1_000),
        FOREVER_MS,
    )
    assert [held.cause for held in twice[1]] == [Cause.TOO_FAST]
    assert not twice[0]


def test_a_report_that_was_held_up_does_not_make_the_next_one_too_fast() -> None:
    seen = {Key(USER, END): Seen(0, 0, 0, 0, FOREVER_MS)}
    held_up_bytes = 15 * 1_000 * 125_000
    charges, held = metering.charge(
        [Row(0, Usage(USER, END, 0, held_up_bytes), FOREVER_MS)], known(seen, link_mbps=1_000), FOREVER_MS
    )
    assert charges
    assert not held


def test_a_clock_that_went_back_does_not_hold_ordinary_traffic() -> None:
    seen = {Key(USER, END): Seen(0, 0, 0, 0, FOREVER_MS)}
    charges, held = metering.charge(
        [Row(0, Usage(USER, END, 1_000, 1_000), FOREVER_MS)], known(seen), FOREVER_MS - 5_000
    )
    assert charges
    assert not held
