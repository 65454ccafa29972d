"""What the host remembers of clients, and forgets: without Xray, the kernel's lists are made up."""

import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from agent.drivers import nft
from agent.drivers.xray import barrier, census, limits, runfile, sockets, webhook
from shared.names import EndpointId

TCP, UDP, BOTH, SHARED, QUIC = range(1, 6)
PLACES = (
    runfile.Place(TCP, "vless", 1001, "::"),
    runfile.Place(UDP, "vless", 1002, "::", networks="udp"),
    runfile.Place(BOTH, "shadowsocks", 1003, "::", networks="tcp,udp"),
    runfile.Place(SHARED, "vless", 1004, "::", way="s"),
    runfile.Place(QUIC, "hysteria", 1005, "::", networks="udp", way="q"),
)


def peer(number: int) -> sockets.Peer:
    return sockets.Peer(number.to_bytes(6, "big"))


def made(path: Path) -> census.Census:
    return census.Census(runfile.Spec(str(path), str(path / "lock"), 60.0, None, "", PLACES), 0.0)


def tell(known: census.Census, email: str, number: int, *, datagrams: bool = False) -> None:
    known.note(webhook.Event(email, peer(number), datagrams))


@contextlib.contextmanager
def kernel(
    connections: set[sockets.Peer] | None = None,
    seen: dict[int, set[sockets.Peer]] | None = None,
    links: dict[int, list[barrier.Link]] | None = None,
) -> Iterator[None]:
    """The kernel has these, and no other; without `seen` they were too many to be told."""

    def list_connections(_port: int) -> list[sockets.Socket]:
        return [sockets.Socket(2, 1, b"", one) for one in connections or ()]

    with (
        mock.patch.object(sockets, "connections", list_connections),
        mock.patch.object(barrier, "seen", return_value=seen),
        mock.patch.object(barrier, "links", return_value=links or {}),
    ):
        yield


def test_a_million_connections_and_clients_on_udp_come_and_go_and_their_memory_goes(tmp_path: Path) -> None:
    known = made(tmp_path)
    live = 500
    grown_kb = 0
    for number in range(500_000):
        user = number % 5000 + 1
        tell(known, f"u{user}-e{TCP}", number)
        tell(known, f"u{user}-e{UDP}", number, datagrams=True)
        if known.grown():
            lately = {peer(one) for one in range(max(0, number - live), number + 1)}
            with kernel(lately, {1002: lately}):
                known.attend(number / 1000)
            assert len(known.streams) <= live + 1
            # The kernel is asked who is on UDP every thirty seconds: at this pace every 30,000 clients.
            assert len(known.datagrams) <= 30_000 + census.PRUNE_EVENTS + live
        if number == 100_000:
            grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - grown_kb < 4096
    lately = {peer(499_999)}
    with kernel(lately, {1002: lately}):
        known.prune(2000.0)
    assert (len(known.streams), len(known.datagrams)) == (1, 1)
    assert known.counts()["dropped"] == 1_000_000 - 2


@pytest.mark.parametrize("why", ["too many", "no table"])
def test_clients_on_udp_nobody_can_ask_for_are_kept_up_to_a_bound(tmp_path: Path, why: str) -> None:
    known = made(tmp_path)
    for number in range(census.MOST_DATAGRAMS + 10):
        tell(known, f"u1-e{UDP}", number, datagrams=True)
    refused = mock.patch.object(barrier, "seen", side_effect=nft.NftError("there is no table"))
    with refused if why == "no table" else kernel(seen=None):
        known.prune(100.0)
    assert len(known.datagrams) == census.MOST_DATAGRAMS
    kept = known.connections([f"u1-e{UDP}"])["datagrams"]
    assert isinstance(kept, dict)
    assert peer(census.MOST_DATAGRAMS + 9).hex() in kept[f"u1-e{UDP}"]
    assert peer(9).hex() not in kept[f"u1-e{UDP}"]


def test_one_address_and_port_on_udp_and_on_tcp_may_be_two_users(tmp_path: Path) -> None:
    known = made(tmp_path)
    tell(known, f"u1-e{BOTH}", 1)
    tell(known, f"u2-e{BOTH}", 1, datagrams=True)
    assert known.streams.everything() == {f"u1-e{BOTH}": [peer(1)]}
    assert known.datagrams.everything() == {f"u2-e{BOTH}": [peer(1)]}


def test_udp_inside_a_connection_of_its_own_is_the_connection_s(tmp_path: Path) -> None:
    known = made(tmp_path)
    tell(known, f"u1-e{TCP}", 1, datagrams=True)
    assert known.streams.everything() == {f"u1-e{TCP}": [peer(1)]}
    assert known.datagrams.everything() == {}


def test_a_connection_that_may_be_shared_belongs_to_all_who_were_named(tmp_path: Path) -> None:
    known = made(tmp_path)
    for user in (1, 2, 1):
        tell(known, f"u{user}-e{SHARED}", 1)
        tell(known, f"u{user}-e{TCP}", 1)
    assert known.connections(None)["shared"] == {
        f"u1-e{SHARED}": {peer(1).hex(): [f"u2-e{SHARED}"]},
        f"u2-e{SHARED}": {peer(1).hex(): [f"u1-e{SHARED}"]},
    }
    assert set(known.streams.everything()) == {f"u1-e{SHARED}", f"u2-e{SHARED}", f"u1-e{TCP}"}
    with kernel(set()):
        known.prune(1.0)
    assert known.connections(None) == {"connections": {}, "datagrams": {}, "shared": {}}


def test_a_session_of_quic_is_followed_to_where_it_goes(tmp_path: Path) -> None:
    known = made(tmp_path)
    tell(known, f"u1-e{QUIC}", 1)
    tell(known, f"u2-e{QUIC}", 5)
    # The client of 1 went to 2 under one id and on to 3 under another; 6 has to do with nobody known.
    links = [
        barrier.Link(peer(one), of) for one, of in ((1, 10), (2, 10), (2, 11), (3, 11), (5, 12), (6, 13))
    ]
    with kernel(seen={1005: {peer(2), peer(3), peer(5), peer(6)}}, links={1005: links}):
        known.prune(100.0)
    assert {email: set(peers) for email, peers in known.datagrams.everything().items()} == {
        f"u1-e{QUIC}": {peer(2), peer(3)},
        f"u2-e{QUIC}": {peer(5)},
    }


def test_a_session_that_two_were_named_for_is_given_to_nobody_else(tmp_path: Path) -> None:
    known = made(tmp_path)
    tell(known, f"u1-e{QUIC}", 1)
    tell(known, f"u2-e{QUIC}", 2)
    known.datagrams.follow(EndpointId(QUIC), [{peer(1), peer(2), peer(3)}])
    assert len(known.datagrams) == 2


def test_only_who_has_a_rate_is_limited_and_a_port_used_again_changes_hands(tmp_path: Path) -> None:
    known = made(tmp_path)
    scripts: list[str] = []
    with mock.patch.object(nft, "run", scripts.append), mock.patch.object(nft, "remove") as removed:
        tell(known, f"u1-e{TCP}", 1)
        tell(known, f"u2-e{TCP}", 2)
        assert known.keep_rates({f"u1-e{TCP}": (1000, None)})["problem"] is None
        assert "0.0.0.0 . tcp . 1 . 1001" in scripts[-1]
        assert "0.0.0.0 . tcp . 2 . 1001" not in scripts[-1]
        assert known.due_s(1.0) is None
        tell(known, f"u1-e{TCP}", 3)
        assert known.due_s(0.0) == census.LIMIT_EVERY_S
        known.limit(1.0)
        assert scripts[-1] == (
            "add element inet "
            f'{barrier.table_name(tmp_path, "rate")} up4 {{ 0.0.0.0 . tcp . 3 . 1001 : "u1_e1_up_1000" }}\n'
        )
        tell(known, f"u2-e{TCP}", 3)
        known.limit(2.0)
        assert scripts[-1].startswith("delete element")
        assert known.keep_rates({})["rates"] == {}
        assert removed.called


def test_a_limit_that_cannot_be_set_is_a_problem_until_it_can() -> None:
    kept = limits.Limits("tidegate_rate_test")
    plan = limits.Plan({"u1-e1": limits.Rate(1, 2)}, {limits.Flow("udp", peer(1), 5): "u1-e1"})
    with mock.patch.object(nft, "run", side_effect=nft.NftError("no")):
        kept.hold(plan)
        assert (kept.problem, dict(kept.rates)) == ("no", {})
    with mock.patch.object(nft, "run") as run:
        kept.hold(plan)
        assert (kept.problem, dict(kept.rates)) == (None, plan.rates)
        assert run.call_args.args[0].startswith("table inet tidegate_rate_test\ndelete table")
