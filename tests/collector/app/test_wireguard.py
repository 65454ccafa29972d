"""Users of WireGuard endpoints: keys and addresses come and go with their places."""

import base64
import itertools
import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.app import configs, endpoints, events, nodes, users, wireguard
from collector.domain import keys, refusals
from collector.domain.addressing import Version
from collector.domain.endpoints import Endpoint, EndpointChanges, NewEndpoint
from collector.domain.nodes import NewNode
from collector.domain.users import NewUser, User
from collector.domain.wireguard import Peer, Terms, Wish, public_of
from collector.store.session import Session
from shared.endpoints import WireGuard
from shared.messages import Account
from shared.names import EndpointId, NodeId, UserId
from tests.collector.app.fleet import ADMIN, NOW_MS, Fleet, uuid

REST_MS = 60_000
TERMS = Terms(random.Random(5).randbytes, REST_MS)
INTERFACE = base64.b64encode(bytes([8, *[7] * 30, 64])).decode()
OWN = public_of(base64.b64encode(b"o" * 32).decode())
_ports = itertools.count(51_820)


def _tunnel(fleet: Fleet, *addresses: str, host: str | None = "vpn.example.org") -> Endpoint:
    new = NewEndpoint(
        name="tunnel",
        protocol="wireguard",
        port=next(_ports),
        host=host,
        options=WireGuard(private_key=INTERFACE, addresses=addresses or ("10.66.0.1/24", "fd00::1/64")),
    )
    return fleet.db.write_now(endpoints.create, fleet.node.id, new, ADMIN, NOW_MS).value


def _user(fleet: Fleet, number: int, *where: Endpoint, wish: Wish | None = None) -> User:
    asked = {where[0].id: wish} if wish else {}
    new = NewUser(name=f"user-{number}", endpoints=tuple(one.id for one in where), wireguard=asked)
    return fleet.db.write_now(users.create, new, uuid(number), ADMIN, NOW_MS, TERMS).value


def _assign(
    fleet: Fleet, user: User, *where: Endpoint, now_ms: int = NOW_MS, wish: Wish | None = None
) -> None:
    asked = {where[0].id: wish} if wish else {}
    wanted = [one.id for one in where]
    fleet.db.write_now(users.assign, user.id, wanted, ADMIN, now_ms, TERMS, wishes=asked)


def _change(fleet: Fleet, user: User, endpoint: Endpoint, wish: Wish, now_ms: int = NOW_MS) -> Peer:
    changed = fleet.db.write_now(wireguard.change, user.id, endpoint.id, wish, ADMIN, now_ms, TERMS)
    return changed.value.peer


def _peer(fleet: Fleet, user: User) -> Peer:
    (tunnel,) = fleet.db.read_now(wireguard.of_user, user.id)
    return tunnel.peer


def _accounts(fleet: Fleet) -> dict[tuple[int, int], Account]:
    full = fleet.db.read_now(configs.difference, fleet.node.id, 0)
    bodies = [item.body for item in full.items if isinstance(item.body, Account)]
    return {(one.user, one.endpoint): one for one in bodies}


def _refused(fleet: Fleet, user: User, endpoint: Endpoint, wish: Wish) -> refusals.Refused:
    with pytest.raises(refusals.Refused) as refused:
        _change(fleet, user, endpoint, wish)
    return refused.value


def test_a_user_who_is_put_on_an_endpoint_has_keys_and_addresses_there(fleet: Fleet) -> None:
    tunnel = _tunnel(fleet)
    user = _user(fleet, 1, tunnel, fleet.endpoint)
    peer = _peer(fleet, user)
    assert (peer.texts, peer.fixed) == (("10.66.0.2", "fd00::2"), ())
    assert peer.keys.private is not None
    assert peer.keys.public == public_of(peer.keys.private)
    account = _accounts(fleet)[user.id, tunnel.id].peer
    assert account is not None
    assert (account.public_key, account.preshared_key) == (peer.keys.public, peer.keys.preshared)
    assert account.addresses == ("10.66.0.2", "fd00::2")
    assert _accounts(fleet)[user.id, fleet.endpoint.id].peer is None


def test_users_of_one_endpoint_have_different_keys_and_addresses(fleet: Fleet) -> None:
    tunnel = _tunnel(fleet)
    peers = [_peer(fleet, _user(fleet, number, tunnel)) for number in range(1, 6)]
    for each in (
        [one.keys.public for one in peers],
        [one.keys.preshared for one in peers],
        [one.texts for one in peers],
    ):
        assert len(set(each)) == 5


def test_an_endpoint_without_version_6_gives_no_address_of_it(fleet: Fleet) -> None:
    user = _user(fleet, 1, _tunnel(fleet, "10.66.0.1/24"))
    assert _peer(fleet, user).texts == ("10.66.0.2",)


def test_a_user_who_is_not_served_keeps_what_he_has_and_is_on_no_node(fleet: Fleet) -> None:
    tunnel = _tunnel(fleet)
    user = _user(fleet, 1, tunnel)
    before = _peer(fleet, user)
    fleet.change(user, NOW_MS, active=False)
    assert _accounts(fleet) == {}
    fleet.change(user, NOW_MS, active=True)
    assert _peer(fleet, user) == before
    account = _accounts(fleet)[user.id, tunnel.id].peer
    assert account is not None
    assert account.public_key == before.keys.public


def test_an_assignment_that_says_the_same_changes_no_key(fleet: Fleet) -> None:
    tunnel, other = _tunnel(fleet), _tunnel(fleet, "10.77.0.1/24")
    user = _user(fleet, 1, tunnel)
    before = _peer(fleet, user)
    _assign(fleet, user, tunnel, other, fleet.endpoint)
    kept, added = (one.peer for one in fleet.db.read_now(wireguard.of_user, user.id))
    assert kept == before
    assert added.texts == ("10.77.0.2",)
    assert added.keys.public != kept.keys.public


@pytest.mark.parametrize("how", ["unassigned", "removed"])
def test_the_address_of_who_left_rests_before_somebody_else_has_it(fleet: Fleet, how: str) -> None:
    tunnel = _tunnel(fleet, "10.66.0.1/30")
    user, waiting = _user(fleet, 1, tunnel), _user(fleet, 2)
    if how == "removed":
        fleet.db.write_now(users.remove, user.id, ADMIN, NOW_MS)
    else:
        _assign(fleet, user)
    assert _accounts(fleet) == {}
    with pytest.raises(refusals.Refused, match=r"no address left in 10\.66\.0\.0/30: .* or use another"):
        _assign(fleet, waiting, tunnel, now_ms=NOW_MS + REST_MS - 1)
    assert fleet.db.read_now(wireguard.of_user, waiting.id) == []
    _assign(fleet, waiting, tunnel, now_ms=NOW_MS + REST_MS)
    assert _peer(fleet, waiting).texts == ("10.66.0.2",)


def test_a_user_who_finds_no_address_is_not_made(fleet: Fleet) -> None:
    tunnel = _tunnel(fleet, "fd00::1/126", "10.66.0.1/30")
    _user(fleet, 1, tunnel)
    with pytest.raises(refusals.Refused, match="no address left") as refused:
        _user(fleet, 2, fleet.endpoint, tunnel)
    assert refused.value.kind is refusals.Kind.CONFLICT
    assert [one.name for one in fleet.db.read_now(users.page, UserId(0), 10)] == ["user-1"]
    # The address of version 6 that he would have had is free again.
    larger = _tunnel(fleet, "fd00:1::1/126")
    assert _peer(fleet, _user(fleet, 2, larger)).texts == ("fd00:1::2",)


def test_an_endpoint_that_is_removed_takes_keys_and_addresses_with_it(fleet: Fleet) -> None:
    tunnel = _tunnel(fleet)
    user = _user(fleet, 1, tunnel)
    fleet.db.write_now(endpoints.remove, tunnel.id, ADMIN, NOW_MS)
    assert fleet.db.read_now(wireguard.of_user, user.id) == []
    for table in ("wireguard_peer", "wireguard_address", "wireguard_cursor"):
        assert fleet.db.read_now(Session.rows, f"SELECT 1 FROM {table}") == []  # noqa: S608 - ours


def test_a_user_may_come_with_his_public_key_and_addresses(fleet: Fleet) -> None:
    tunnel = _tunnel(fleet)
    user = _user(fleet, 1, tunnel, wish=Wish(public_key=OWN, v4="10.66.0.77"))
    peer = _peer(fleet, user)
    assert (peer.keys.public, peer.keys.private) == (OWN, None)
    assert (peer.texts, peer.fixed) == (("10.66.0.77", "fd00::2"), ("10.66.0.77",))
    _assign(fleet, user, tunnel, wish=Wish(v6="fd00::77"))
    assert _peer(fleet, user).fixed == ("10.66.0.77", "fd00::77")
    assert _peer(fleet, user).keys == peer.keys


def test_wishes_for_endpoints_that_are_not_his_or_no_tunnels_are_refused(fleet: Fleet) -> None:
    tunnel = _tunnel(fleet)
    for place in (fleet.endpoint, tunnel):
        asked = {EndpointId(place.id): Wish(v4="10.66.0.7")}
        new = NewUser(name="ada", endpoints=(fleet.endpoint.id,), wireguard=asked)
        with pytest.raises(refusals.Refused) as refused:
            fleet.db.write_now(users.create, new, uuid(1), ADMIN, NOW_MS, TERMS)
        assert refused.value.fields.keys() == {f"wireguard.{place.id}"}
    new = NewUser(name="ada", endpoints=(tunnel.id,), wireguard={tunnel.id: Wish(v4="10.9.0.7")})
    with pytest.raises(refusals.Refused) as refused:
        fleet.db.write_now(users.create, new, uuid(1), ADMIN, NOW_MS, TERMS)
    assert refused.value.fields == {f"wireguard.{tunnel.id}.v4": "use an address of 10.66.0.0/24"}


def test_a_fixed_address_replaces_the_one_that_was_chosen_and_stays(fleet: Fleet) -> None:
    tunnel = _tunnel(fleet)
    user, other = _user(fleet, 1, tunnel), _user(fleet, 2, tunnel)
    peer = _change(fleet, user, tunnel, Wish(v4="10.66.0.200"))
    assert (peer.texts, peer.fixed) == (("10.66.0.200", "fd00::2"), ("10.66.0.200",))
    account = _accounts(fleet)[user.id, tunnel.id].peer
    assert account is not None
    assert account.addresses == ("10.66.0.200", "fd00::2")
    assert _change(fleet, user, tunnel, Wish(v4=None)).fixed == ()
    assert _peer(fleet, user).texts == ("10.66.0.200", "fd00::2")
    # He may go back to what was his own; others may not have it yet.
    assert "until lately" in _refused(fleet, other, tunnel, Wish(v4="10.66.0.2")).fields["v4"]
    assert _change(fleet, user, tunnel, Wish(v4="10.66.0.2")).texts == ("10.66.0.2", "fd00::2")
    assert "has it" in _refused(fleet, other, tunnel, Wish(v4="10.66.0.2")).fields["v4"]
    later = NOW_MS + REST_MS
    assert _change(fleet, other, tunnel, Wish(v4="10.66.0.200"), later).texts[0] == "10.66.0.200"


@pytest.mark.parametrize(
    ("wish", "field"),
    [
        (Wish(v4="10.66.0.1"), "v4"),
        (Wish(v4="10.66.0.255"), "v4"),
        (Wish(v4="10.67.0.1"), "v4"),
        (Wish(v6="fd00::1"), "v6"),
        (Wish(v6="fd00::"), "v6"),
        (Wish(v6="fd00:0:0::5"), "v6"),
        (Wish(public_key="x"), "public_key"),
        (Wish(public_key=OWN + "\nPostUp = id"), "public_key"),
    ],
)
def test_what_a_user_cannot_have_is_refused_and_nothing_changes(fleet: Fleet, wish: Wish, field: str) -> None:
    tunnel = _tunnel(fleet)
    user = _user(fleet, 1, tunnel)
    before = _peer(fleet, user)
    refused = _refused(fleet, user, tunnel, wish)
    assert (refused.kind, set(refused.fields)) == (refusals.Kind.INVALID, {field})
    assert _peer(fleet, user) == before


def test_a_public_key_is_one_users_on_an_endpoint(fleet: Fleet) -> None:
    tunnel, other = _tunnel(fleet), _tunnel(fleet, "10.77.0.1/24")
    _user(fleet, 1, tunnel, wish=Wish(public_key=OWN))
    second = _user(fleet, 2, tunnel, other)
    refused = _refused(fleet, second, tunnel, Wish(public_key=OWN))
    assert (refused.kind, set(refused.fields)) == (refusals.Kind.CONFLICT, {"public_key"})
    assert _change(fleet, second, other, Wish(public_key=OWN)).keys.public == OWN
    made = fleet.db.read_now(wireguard.of_user, second.id)[0].peer.keys.public
    third = _user(fleet, 3, tunnel)
    assert _refused(fleet, third, tunnel, Wish(public_key=made)).fields.keys() == {"public_key"}


def test_a_rotation_gives_the_node_new_keys_and_keeps_the_addresses(fleet: Fleet) -> None:
    tunnel = _tunnel(fleet)
    user = _user(fleet, 1, tunnel)
    before = _peer(fleet, user)
    change = fleet.db.write_now(wireguard.rotate, user.id, tunnel.id, ADMIN, NOW_MS, TERMS)
    after = _peer(fleet, user)
    assert change.nodes == {fleet.node.id}
    assert change.value.peer == after
    assert (after.addresses, after.keys.public != before.keys.public) == (before.addresses, True)
    account = _accounts(fleet)[user.id, tunnel.id].peer
    assert account is not None
    assert (account.public_key, account.preshared_key) == (after.keys.public, after.keys.preshared)


def test_what_happens_is_told_without_anything_secret(fleet: Fleet) -> None:
    tunnel = _tunnel(fleet)
    user = _user(fleet, 1, tunnel)
    secrets = [_peer(fleet, user).keys]
    _change(fleet, user, tunnel, Wish(v4="10.66.0.9", public_key=OWN))
    _change(fleet, user, tunnel, Wish(v4="10.66.0.9"))
    secrets.append(_peer(fleet, user).keys)
    fleet.db.write_now(wireguard.rotate, user.id, tunnel.id, ADMIN, NOW_MS, TERMS)
    secrets.append(_peer(fleet, user).keys)
    _assign(fleet, user)
    told = [one for one in fleet.db.read_now(events.page, 0, 100) if one.kind.startswith("PEER_")]
    assert [one.kind for one in told] == ["PEER_CREATED", "PEER_CHANGED", "PEER_CHANGED", "PEER_REMOVED"]
    assert {one.subject for one in told} == {f"user:{user.id}"}
    created, changed, rotated, removed = (dict(one.data) for one in told)
    assert created["tunnel"] == ["10.66.0.2", "fd00::2"]
    assert changed["changes"] == {
        "public_key": {"before": secrets[0].public, "after": OWN},
        "tunnel": {"before": ["10.66.0.2", "fd00::2"], "after": ["10.66.0.9", "fd00::2"]},
        "fixed": {"before": [], "after": ["10.66.0.9"]},
    }
    assert (rotated["changes"], rotated["preshared_key_renewed"]) == ({}, True)
    assert (removed["public_key"], removed["endpoint"]) == (OWN, tunnel.id)
    said = repr(fleet.db.read_now(events.page, 0, 100))
    for one in secrets:
        assert one.preshared not in said
        assert one.private is None or one.private not in said


def test_a_configuration_says_where_the_endpoint_is_and_who_the_user_is(fleet: Fleet) -> None:
    tunnel = _tunnel(fleet)
    user = _user(fleet, 1, tunnel)
    made = fleet.db.read_now(wireguard.config, user.id, tunnel.id, ("9.9.9.9",))
    peer = _peer(fleet, user)
    assert (made.host, made.port, made.mtu) == ("vpn.example.org", tunnel.port, 1420)
    assert (made.addresses, made.dns, made.keys) == (peer.texts, ("9.9.9.9",), peer.keys)
    assert (made.public_key, made.title) == (public_of(INTERFACE), "user-1 at tunnel")


def test_without_a_host_of_the_endpoint_there_is_no_configuration(fleet: Fleet) -> None:
    tunnel = _tunnel(fleet, host=None)
    user = _user(fleet, 1, tunnel)
    with pytest.raises(refusals.Refused, match="set its host") as refused:
        fleet.db.read_now(wireguard.config, user.id, tunnel.id, ())
    assert refused.value.kind is refusals.Kind.CONFLICT


def test_a_user_is_nothing_on_an_endpoint_that_is_not_his(fleet: Fleet) -> None:
    tunnel, user = _tunnel(fleet), _user(fleet, 1, fleet.endpoint)
    for number in (tunnel.id, fleet.endpoint.id, EndpointId(99)):
        with pytest.raises(refusals.Refused, match=re.escape(str(number))) as refused:
            fleet.db.read_now(wireguard.config, user.id, number, ())
        assert refused.value.kind is refusals.Kind.NOT_FOUND
        with pytest.raises(refusals.Refused):
            fleet.db.write_now(wireguard.rotate, user.id, number, ADMIN, NOW_MS, TERMS)


def _renumbered(fleet: Fleet, tunnel: Endpoint, *addresses: str) -> frozenset[NodeId]:
    options = WireGuard(addresses=addresses)
    changes, chance = EndpointChanges(options=options), bytes(keys.CHANCE_BYTES)
    return fleet.db.write_now(endpoints.change, tunnel.id, changes, chance, ADMIN, NOW_MS, TERMS).nodes


def test_a_larger_network_keeps_everybodys_address(fleet: Fleet) -> None:
    tunnel = _tunnel(fleet, "10.66.0.1/30")
    user = _user(fleet, 1, tunnel)
    before = _peer(fleet, user)
    _renumbered(fleet, tunnel, "10.66.0.1/16")
    assert _peer(fleet, user) == before
    assert _peer(fleet, _user(fleet, 2, tunnel)).texts == ("10.66.0.3",)


def test_a_network_of_another_version_gives_its_users_addresses_and_takes_them(fleet: Fleet) -> None:
    tunnel = _tunnel(fleet, "10.66.0.1/24")
    people = [_user(fleet, number, tunnel) for number in (1, 2)]
    assert _renumbered(fleet, tunnel, "10.66.0.1/24", "fd00::1/64") == {fleet.node.id}
    assert [_peer(fleet, one).texts for one in people] == [
        ("10.66.0.2", "fd00::2"),
        ("10.66.0.3", "fd00::3"),
    ]
    account = _accounts(fleet)[people[1].id, tunnel.id].peer
    assert account is not None
    assert account.addresses == ("10.66.0.3", "fd00::3")
    _renumbered(fleet, tunnel, "fd00::1/64")
    assert [_peer(fleet, one).texts for one in people] == [("fd00::2",), ("fd00::3",)]


@pytest.mark.parametrize("address", ["10.77.0.1/24", "10.66.0.2/24", "10.66.0.9/29"])
def test_an_interface_is_not_renumbered_over_its_users(fleet: Fleet, address: str) -> None:
    tunnel = _tunnel(fleet, "10.66.0.1/24")
    user = _user(fleet, 1, tunnel)
    with pytest.raises(refusals.Refused, match="do not fit") as refused:
        _renumbered(fleet, tunnel, address)
    assert "10.66.0.2" in refused.value.fields["options.addresses"]
    assert _peer(fleet, user).texts == ("10.66.0.2",)
    _assign(fleet, user)
    _renumbered(fleet, tunnel, address)


def test_a_version_that_has_no_room_for_all_users_is_refused(fleet: Fleet) -> None:
    tunnel = _tunnel(fleet, "10.66.0.1/24")
    people = [_user(fleet, number, tunnel) for number in (1, 2, 3)]
    with pytest.raises(refusals.Refused, match="no address left in fd00::/126"):
        _renumbered(fleet, tunnel, "10.66.0.1/24", "fd00::1/126")
    assert [_peer(fleet, one).texts for one in people] == [(f"10.66.0.{number}",) for number in (2, 3, 4)]


_MOVES = st.lists(
    st.tuples(
        st.sampled_from(["on", "off", "fix", "free", "wait"]), st.integers(1, 6), st.integers(0, REST_MS)
    ),
    max_size=25,
)


def test_whatever_users_do_no_two_of_them_have_an_address_within_its_rest(fleet: Fleet) -> None:
    """An address has one user at a time, and between two users a rest; refusals leave all as it was."""
    people = [_user(fleet, number) for number in range(1, 7)]
    node_names = itertools.count()

    @settings(max_examples=25, deadline=None)
    @given(_MOVES)
    def check(moves: list[tuple[str, int, int]]) -> None:
        new = NewNode(name=f"tunnels-{next(node_names)}")
        node = fleet.db.write_now(nodes.create, new, ADMIN, NOW_MS).value
        options = WireGuard(private_key=INTERFACE, addresses=("10.66.0.1/29",))
        asked = NewEndpoint(name="small", protocol="wireguard", port=51_820, options=options)
        tunnel = fleet.db.write_now(endpoints.create, node.id, asked, ADMIN, NOW_MS).value
        now_ms, had = NOW_MS, dict[str, tuple[int, int]]()
        for what, number, amount in moves:
            user = people[number - 1]
            now_ms += amount if what == "wait" else 0
            try:
                _move(fleet, user, tunnel, what, amount, now_ms)
            except refusals.Refused as refused:
                assert refused.kind in {refusals.Kind.CONFLICT, refusals.Kind.NOT_FOUND}  # noqa: PT017 - any may come
            for one in people:
                for text in _texts(fleet, one):
                    last, seen_ms = had.get(text, (one.id, now_ms))
                    assert last == one.id or now_ms - seen_ms >= REST_MS
                    had[text] = (one.id, now_ms)
        for one in people:
            _assign(fleet, one)

    check()


def _move(fleet: Fleet, user: User, tunnel: Endpoint, what: str, amount: int, now_ms: int) -> None:
    if what == "on":
        _assign(fleet, user, tunnel, now_ms=now_ms)
    elif what == "off":
        _assign(fleet, user, now_ms=now_ms)
    elif what == "fix":
        _change(fleet, user, tunnel, Wish(v4=f"10.66.0.{2 + amount % 5}"), now_ms)
    elif what == "free":
        _change(fleet, user, tunnel, Wish(v4=None), now_ms)


def _texts(fleet: Fleet, user: User) -> list[str]:
    found = fleet.db.read_now(wireguard.of_user, user.id)
    return [one.peer.addresses[Version.V4].text for one in found]
