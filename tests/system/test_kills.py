"""Many kills of real programs under real traffic: the bill is what Xray showed and what the clients had."""

from collections.abc import Iterator

import pytest

from tests.kit import fleet as fleets
from tests.kit.fleet import Fleet
from tests.kit.postgres import Cluster
from tests.system import kills

pytestmark = pytest.mark.e2e

_KILLS = 20
_SEED = 4


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    """Collector, one node with its Xray, a source of bytes; ended with the test."""
    with fleets.opened(("home",)) as opened:
        yield opened


def assert_exact(storm: kills.Storm) -> None:
    assert storm.kills.keys() == {"agent", "collector"}
    assert storm.downloads.keys() == {"complete"}
    for bill in storm.bills:
        assert bill.billed == bill.counted == bill.delivered
    assert storm.same_core


def test_twenty_kills_of_agent_and_collector_lose_and_double_no_byte(fleet: Fleet) -> None:
    storm = kills.sparing_the_core(fleet, seed=_SEED, kills=_KILLS)
    assert storm.kills.total() >= _KILLS
    assert_exact(storm)


def test_kills_of_agent_and_collector_do_not_touch_a_limited_user_either(fleet: Fleet) -> None:
    assert_exact(kills.sparing_the_core(fleet, seed=_SEED, kills=6, limited=True))


@pytest.mark.postgres
def test_kills_lose_and_double_no_byte_on_postgresql_either(cluster: Cluster) -> None:
    url = cluster.socket_url(cluster.make())
    wishes = fleets.Wishes(collector={"TIDEGATE_COLLECTOR_DATABASE_URL": url})
    with fleets.opened(("home",), wishes) as on_postgres:
        assert_exact(kills.sparing_the_core(on_postgres, seed=_SEED, kills=6))


def test_a_killed_core_takes_with_it_at_most_what_passed_since_the_last_reading(fleet: Fleet) -> None:
    storm, unread = kills.with_the_core(fleet, seed=_SEED, rounds=4)
    assert storm.doubled == 0
    lost = sum(bill.delivered - bill.billed for bill in storm.bills)
    assert 0 < lost <= sum(each.passed_bytes for each in unread)
    for each in unread:
        assert each.passed_bytes <= 2 * kills.RATE * each.since_reading_s
    assert storm.downloads["cut"] > 0
