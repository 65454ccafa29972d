"""A quota is a bound: what its end does to the user, and does not do to his neighbour."""

import pytest

from tests.kit.clients import Kind
from tests.kit.fleet import Fleet

pytestmark = pytest.mark.e2e

_MB = 1_000_000
_RATE = 5 * _MB


# Xray as a client may leave its application waiting when the server resets the connection; sing-box does not.
@pytest.mark.netns
@pytest.mark.parametrize(("kind", "seen"), [("sing-box", {"cut"}), ("xray", {"cut", "stalled"})])
def test_a_user_over_quota_is_cut_and_his_neighbour_behind_the_same_address_is_not(
    fleet: Fleet, kind: Kind, seen: set[str]
) -> None:
    alice, bob = fleet.add_user("alice", quota_bytes=8 * _MB), fleet.add_user("bob")
    fleet.served(alice, kind=kind)
    fleet.served(bob, kind=kind)
    over = fleet.download(alice, 40 * _MB, rate=_RATE, kind=kind, silence_s=2.0)
    neighbour = fleet.download(bob, 20 * _MB, rate=_RATE, kind=kind)

    cut = over.result()
    assert cut.how in seen
    assert 8 * _MB <= fleet.settled(alice, fleet.counted(alice))["total"] <= 8 * _MB + _RATE
    assert neighbour.result().how == "complete"
    assert fleet.settled(bob, fleet.delivered(bob))["total"] == fleet.delivered(bob)
    assert fleet.download(alice, 1000, kind=kind).result().received == 0


def test_a_user_over_quota_is_refused_new_connections(fleet: Fleet) -> None:
    alice = fleet.add_user("alice", quota_bytes=_MB)
    fleet.served(alice)
    fleet.download(alice, 2 * _MB).result()
    fleet.settled(alice, _MB)

    fleet.refused(alice)
    assert fleet.api.usage(alice.id)["status"] == "suspended"


def test_a_raised_quota_brings_the_user_back(fleet: Fleet) -> None:
    alice = fleet.add_user("alice", quota_bytes=_MB)
    fleet.served(alice)
    fleet.download(alice, 2 * _MB).result()
    fleet.refused(alice)

    fleet.api.change_user(alice.id, quota_bytes=100 * _MB)
    fleet.served(alice, within_s=5.0)
    assert fleet.settled(alice, fleet.delivered(alice))["total"] == fleet.counted(alice)


def test_a_user_made_by_the_api_gets_his_first_byte_without_a_restart(fleet: Fleet) -> None:
    fleet.served(fleet.add_user("alice"), within_s=5.0)
    core = fleet.agent.core_pid()
    fleet.served(fleet.add_user("bob"), kind="xray", within_s=5.0)
    assert core is not None
    assert fleet.agent.core_pid() == core


def test_a_deleted_user_is_refused(fleet: Fleet) -> None:
    alice = fleet.add_user("alice")
    fleet.served(alice)
    fleet.api.delete_user(alice.id)
    fleet.refused(alice)
