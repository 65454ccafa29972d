"""Too many addresses at once: cut everywhere, refused while it lasts, served again; one household is one."""

from collections.abc import Iterator

import pytest

from tests.kit import fleet as fleets
from tests.kit import waiting
from tests.kit.fleet import Fleet

pytestmark = [pytest.mark.e2e, pytest.mark.netns]

_MB = 1_000_000
_RATE = 200_000
_PENALTY_S = 6.0
_CUTS = {"cut", "refused"}


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    """A fleet that looks often and does not punish for long."""
    wishes = fleets.Wishes(
        collector={
            "TIDEGATE_COLLECTOR_PENALTY_S": str(_PENALTY_S),
            "TIDEGATE_COLLECTOR_SESSION_WINDOW_S": "3",
        },
        agent={"TIDEGATE_AGENT_SESSIONS_S": "0.3"},
    )
    with fleets.opened(wishes=wishes) as opened:
        yield opened


def _events(fleet: Fleet, user: fleets.User) -> list[str]:
    return [event["kind"] for event in fleet.api.events() if event["subject"] == f"user:{user.id}"]


def _counted(fleet: Fleet, user: fleets.User, sessions: int) -> None:
    waiting.until(
        lambda: fleet.api.sessions(user.id)["sessions"] == sessions,
        within_s=10,
        what=f"{user.name} to have {sessions} sessions",
    )


def test_a_second_address_beyond_the_limit_cuts_both_and_the_user_is_back_after_the_penalty(
    fleet: Fleet,
) -> None:
    alice, bob = fleet.add_user("alice", max_concurrent=1), fleet.add_user("bob", max_concurrent=2)
    fleet.served(alice)
    fleet.served(bob)
    neighbour = fleet.download(bob, 4 * _MB, rate=4 * _RATE)
    at_home = fleet.download(alice, 50 * _MB, rate=_RATE)
    at_home.reached(_RATE)
    at_cafe = fleet.download(alice, 50 * _MB, rate=_RATE, place="cafe")

    assert at_home.result(within_s=20).how in _CUTS
    assert at_cafe.result(within_s=20).how in _CUTS
    penalty = fleet.api.sessions(alice.id)["penalty"]
    assert penalty["reason"] == "sessions"
    assert 0 < penalty["for_s"] <= _PENALTY_S
    assert [one["user"] for one in fleet.api.all_sessions()["penalised"]] == [alice.id]
    assert fleet.download(alice, 1000).result().received == 0
    assert neighbour.result().how == "complete"

    fleet.served(alice, within_s=_PENALTY_S + 10)
    assert fleet.api.sessions(alice.id)["penalty"] is None
    waiting.until(lambda: "PENALTY_LIFTED" in _events(fleet, alice), within_s=5, what="the end in the events")
    assert _events(fleet, alice).count("USER_PENALISED") == 1
    assert "USER_PENALISED" not in _events(fleet, bob)


def test_many_connections_and_clients_behind_one_address_are_one_session(fleet: Fleet) -> None:
    alice = fleet.add_user("alice", max_concurrent=1)
    fleet.served(alice)
    running = [fleet.download(alice, _MB, rate=_RATE) for _ in range(3)]
    running.append(fleet.download(alice, _MB, rate=_RATE, kind="xray"))
    _counted(fleet, alice, 1)
    assert [download.result().how for download in running] == ["complete"] * 4
    told = _events(fleet, alice)
    assert "USER_PENALISED" not in told
    assert told.count("USER_CONNECTED") == 1
    waiting.until(
        lambda: "USER_DISCONNECTED" in _events(fleet, alice), within_s=15, what="alice to be offline"
    )


def test_an_admin_who_lifts_a_penalty_brings_the_user_back_at_once(fleet: Fleet) -> None:
    alice = fleet.add_user("alice", max_concurrent=1)
    fleet.served(alice)
    running = [fleet.download(alice, 50 * _MB, rate=_RATE, place=place) for place in fleets.HOMES]
    assert all(download.result(within_s=20).how in _CUTS for download in running)
    fleet.api.lift_penalty(alice.id)
    fleet.served(alice, within_s=_PENALTY_S / 2)
