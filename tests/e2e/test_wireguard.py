"""One user on Xray and on WireGuard: both count into one quota, its end cuts both, and agents come and go.

Programs are real: collector, agent, Xray, and wireguard-go at both ends of a tunnel.
"""

from collections.abc import Iterator

import pytest

from tests.kit import fleet as fleets
from tests.kit import tunnels, waiting, wireguard
from tests.kit.fleet import Fleet, User
from tests.kit.tunnels import Tunnel

_MISSING = wireguard.missing()
_MB = 1_000_000
_RATE = 3 * _MB
#: Clients of WireGuard live apart: their tunnels lead to the same addresses.
_HOMES = ("home", "cafe", "office")

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.netns,
    pytest.mark.skipif(_MISSING is not None, reason=_MISSING or ""),
]


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    """A fleet whose node may serve WireGuard."""
    with fleets.opened(_HOMES, fleets.Wishes(tunnels=True)) as opened:
        yield opened


@pytest.fixture
def tunnel(fleet: Fleet) -> Iterator[Tunnel]:
    """A WireGuard endpoint beside the fleet's Xray."""
    with tunnels.opened(fleet) as opened:
        yield opened


def _use_up_over_xray(fleet: Fleet, user: User) -> None:
    """Pull more than his quota has left, and see the connection end."""
    assert fleet.download(user, 40 * _MB, rate=_RATE, silence_s=3.0).result().how in {"cut", "stalled"}
    waiting.until(
        lambda: fleet.api.usage(user.id)["status"] == "suspended",
        within_s=5.0,
        what=f"{user.name} to be suspended",
    )


def test_both_ways_count_into_one_quota_and_its_end_cuts_both_but_no_neighbour(
    fleet: Fleet, tunnel: Tunnel
) -> None:
    alice, bob = tunnel.add_user("alice", quota_bytes=10 * _MB, only=False), tunnel.add_user("bob")
    fleet.served(alice)
    with tunnel.client(alice, "cafe") as hers, tunnel.client(bob, "office") as his:
        neighbour = tunnel.download(his, 20 * _MB, rate=_RATE)
        ways = [
            fleet.download(alice, 40 * _MB, rate=_RATE, silence_s=3.0),
            tunnel.download(hers, 40 * _MB, rate=_RATE, silence_s=3.0),
        ]
        assert ways[0].result().how in {"cut", "stalled"}
        assert ways[1].result().how == "stalled"
        assert all(download.total() > _MB for download in ways)
        with tunnel.up(hers) as up, tunnel.down(hers) as down:
            assert not up.passes()
            assert not down.passes()
        assert fleet.download(alice, 1000).result().received == 0

        billed = fleet.settled(alice, fleet.delivered(alice))["total"]
        assert 10 * _MB <= billed <= 10 * _MB + 2 * _RATE
        # What he sends on while he is cut is counted by wireguard-go, dropped, and not billed.
        assert billed <= fleet.counted(alice) + tunnel.counted(hers)
        assert neighbour.result().how == "complete"
        assert fleet.delivered(bob) <= tunnel.settled(bob, his)


def test_a_quota_used_up_over_xray_stops_the_tunnel_and_a_raised_one_resumes_it_without_a_handshake(
    fleet: Fleet, tunnel: Tunnel
) -> None:
    alice = tunnel.add_user("alice", quota_bytes=6 * _MB, only=False)
    fleet.served(alice)
    with tunnel.client(alice, "cafe") as hers, tunnel.up(hers) as up, tunnel.down(hers) as down:
        assert tunnel.download(hers, 3 * _MB).result().how == "complete"
        assert 3 * _MB < tunnel.settled(alice, hers, fleet.counted(alice)) < 6 * _MB
        handshake = hers.handshakes()
        _use_up_over_xray(fleet, alice)
        tunnel.settled(alice, hers, fleet.counted(alice))
        assert not up.passes()
        assert not down.passes()

        fleet.api.change_user(alice.id, quota_bytes=100 * _MB)
        waiting.until(lambda: down.passes(within_s=0.1), within_s=5.0, what="the tunnel to carry again")
        assert up.passes()
        assert tunnel.download(hers, 2 * _MB).result().how == "complete"
        assert hers.handshakes() == handshake
        dropped = wireguard.on_the_wire(1, 8)
        tunnel.settled(alice, hers, fleet.counted(alice) - dropped)
        fleet.served(alice)


def test_an_agent_killed_under_load_leaves_the_tunnel_and_the_next_one_loses_and_doubles_nothing(
    fleet: Fleet, tunnel: Tunnel
) -> None:
    alice = tunnel.add_user("alice", quota_bytes=100 * _MB, only=False)
    fleet.served(alice)
    with tunnel.client(alice, "cafe") as hers:
        handshake = hers.handshakes()
        ways = [
            fleet.download(alice, 12 * _MB, rate=_RATE),
            tunnel.download(hers, 12 * _MB, rate=_RATE),
        ]
        ways[1].reached(3 * _MB)
        fleet.agent.kill()
        ways[1].reached(6 * _MB)
        fleet.agent.start()
        assert [download.result().how for download in ways] == ["complete", "complete"]
        ran = [line["generation"] for line in fleet.agent.events("wireguard_started")]
        assert [line["generation"] for line in fleet.agent.events("wireguard_adopted")] == ran
        billed = tunnel.settled(alice, hers, fleet.counted(alice))
        assert billed >= fleet.delivered(alice)
        assert hers.handshakes() == handshake
