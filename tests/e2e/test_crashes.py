"""kill -9 of each program in the middle of a download: service goes on, and the bill is right to the byte."""

import pytest

from tests.kit import programs, waiting
from tests.kit.clients import Download
from tests.kit.fleet import Fleet, User

pytestmark = pytest.mark.e2e

_MB = 1_000_000
_RATE = 5 * _MB
_SIZE_BYTES = 15 * _MB
_KILL_AT_BYTES = 4 * _MB
_BACK_AT_BYTES = 8 * _MB


def _under_traffic(fleet: Fleet) -> tuple[User, Download]:
    bob = fleet.add_user("bob")
    fleet.served(bob)
    download = fleet.download(bob, _SIZE_BYTES, rate=_RATE)
    download.reached(_KILL_AT_BYTES)
    return bob, download


def _assert_exact(fleet: Fleet, user: User, download: Download) -> None:
    assert download.result().how == "complete"
    delivered = fleet.delivered(user)
    usage = fleet.settled(user, delivered)
    assert usage["total"] == delivered
    assert fleet.counted(user) == delivered


def test_a_killed_agent_leaves_its_core_serving_and_the_next_one_adopts_it(fleet: Fleet) -> None:
    bob, download = _under_traffic(fleet)
    core = fleet.agent.core_pid()
    fleet.agent.kill()
    download.reached(_BACK_AT_BYTES)
    fleet.agent.start()
    _assert_exact(fleet, bob, download)
    assert fleet.agent.core_pid() == core


def test_a_killed_collector_loses_and_doubles_nothing(fleet: Fleet) -> None:
    bob, download = _under_traffic(fleet)
    fleet.collector.kill()
    download.reached(_BACK_AT_BYTES)
    fleet.collector.start()
    fleet.collector_answers()
    _assert_exact(fleet, bob, download)


def test_killing_collector_and_agent_together_loses_and_doubles_nothing(fleet: Fleet) -> None:
    bob, download = _under_traffic(fleet)
    fleet.collector.kill()
    fleet.agent.kill()
    download.reached(_BACK_AT_BYTES)
    fleet.agent.start()
    download.reached(_BACK_AT_BYTES + 2 * _MB)
    fleet.collector.start()
    fleet.collector_answers()
    _assert_exact(fleet, bob, download)


def test_a_node_that_starts_while_the_collector_is_away_serves_its_last_good_state(fleet: Fleet) -> None:
    bob = fleet.add_user("bob")
    fleet.served(bob)
    fleet.collector.kill()
    fleet.agent.kill()
    fleet.agent.end_core()
    fleet.agent.start()
    fleet.served(bob)


def test_a_killed_core_is_restarted_its_incident_is_shown_and_its_users_are_served_again(
    fleet: Fleet,
) -> None:
    bob, download = _under_traffic(fleet)
    core = fleet.agent.core_pid()
    assert core is not None
    programs.kill(core)
    assert download.result().how == "cut"
    fleet.served(bob)
    assert fleet.agent.core_pid() != core
    incidents = waiting.until(fleet.api.incidents, within_s=30.0, what="the incident to be reported")
    assert incidents[0]["kind"] == "core_exited"
