"""Endpoints over a real store: changed in place, told to nodes, and without secrets in events."""

from typing import Any

import msgspec
import pytest

from collector.app import configs, endpoints, events, users
from collector.domain import desired, keys, refusals
from collector.domain.endpoints import Endpoint, EndpointChanges, NewEndpoint
from collector.domain.users import User
from shared import messages
from shared.endpoints import Rate
from shared.names import NodeId
from tests.collector.app.fleet import ADMIN, NOW_MS, Fleet
from tests.collector.domain.test_endpoints import GOOD, INTERFACE, KEY, REALITY, TLS, URL_KEY, XHTTP

CHANCE = bytes(keys.CHANCE_BYTES)


def _create(fleet: Fleet, protocol: str = "vless", port: int = 8443, **fields: Any) -> Endpoint:  # noqa: ANN401 - as NewEndpoint has them
    asked = {"name": "way", "protocol": protocol, "port": port, **fields}
    new = msgspec.convert(asked, NewEndpoint)
    return fleet.db.write_now(endpoints.create, fleet.node.id, new, ADMIN, NOW_MS).value


def _change(fleet: Fleet, endpoint: Endpoint, **fields: Any) -> frozenset[NodeId]:  # noqa: ANN401 - as EndpointChanges has them
    changes = msgspec.convert(fields, EndpointChanges)
    done = fleet.db.write_now(endpoints.change, endpoint.id, changes, CHANCE, ADMIN, NOW_MS)
    assert fleet.db.read_now(endpoints.one, endpoint.id) == done.value
    return done.nodes


def _items(fleet: Fleet, since: int = 0) -> dict[str, Any]:
    state = fleet.db.read_now(configs.difference, fleet.node.id, since)
    return {item.key: item.body for item in state.items}


def _account(fleet: Fleet, user: User) -> messages.Account:
    body = _items(fleet)[f"account/{user.id}/{fleet.endpoint.id}"]
    assert isinstance(body, messages.Account)
    return body


def _told(fleet: Fleet, kind: str) -> dict[str, Any]:
    return dict([one for one in fleet.db.read_now(events.page, 0, 1_000) if one.kind == kind][-1].data)


@pytest.mark.parametrize(("protocol", "fields"), GOOD, ids=str)
def test_an_endpoint_is_stored_and_told_to_its_node_as_it_is(
    fleet: Fleet, protocol: str, fields: dict[str, Any]
) -> None:
    made = _create(fleet, protocol, **fields)
    assert fleet.db.read_now(endpoints.of_node, fleet.node.id) == [fleet.endpoint, made]
    body = _items(fleet)[f"endpoint/{made.id}"]
    assert (body.transport, body.security, body.options) == (made.transport, made.security, made.options)
    assert (body.protocol, body.port, body.extra) == (protocol, 8443, made.extra)
    told = repr(fleet.db.read_now(events.page, 0, 1_000))
    assert not [secret for secret in (KEY, URL_KEY, "00ff", "salt") if secret in told]


def test_a_changed_endpoint_is_the_same_item_with_another_body(fleet: Fleet) -> None:
    user = fleet.user()
    before = fleet.db.read_now(configs.generation, fleet.node.id)
    assert _change(fleet, fleet.endpoint, port=8443, transport=XHTTP, security=REALITY) == {fleet.node.id}
    assert fleet.db.read_now(configs.generation, fleet.node.id) == before + 1
    (changed,) = _items(fleet, before).values()
    assert (changed.endpoint, changed.port, changed.security.private_key) == (1, 8443, URL_KEY)
    assert set(_items(fleet)) == {"endpoint/1", f"account/{user.id}/1"}


def test_what_concerns_the_collector_only_is_told_to_no_node(fleet: Fleet) -> None:
    fleet.user(quota_bytes=1_000)
    assert not _change(fleet, fleet.endpoint, name="other", host="vpn.example.org", factor_permille=500)
    told = _told(fleet, "ENDPOINT_CHANGED")
    assert told["name"] == "other"
    assert {name: pair["after"] for name, pair in told["changes"].items()} == {
        "name": "other",
        "host": "vpn.example.org",
        "factor_permille": 500,
    }


def test_a_changed_secret_is_told_without_it(fleet: Fleet) -> None:
    endpoint = _create(fleet, security=REALITY)
    other = "A" * 42 + "E"
    _change(fleet, endpoint, security=REALITY | {"private_key": other}, extra={"settings": {"x": "hush"}})
    told = _told(fleet, "ENDPOINT_CHANGED")
    assert set(told["changes"]) == {"security.private_key", "extra"}
    assert not [secret for secret in (other, URL_KEY, "hush") if secret in repr(told)]


def test_bytes_are_billed_by_a_new_factor_from_the_change_on(fleet: Fleet) -> None:
    user = fleet.user()
    fleet.report((user.id, 1, 100, 0))
    fleet.report((user.id, 1, 200, 0))
    _change(fleet, fleet.endpoint, factor_permille=3_000)
    fleet.report((user.id, 1, 300, 10))
    assert fleet.used(user) == (200 + 300, 30)


def test_a_higher_factor_voids_the_leases_that_count_the_lower_one(fleet: Fleet) -> None:
    limited, free = fleet.user(1, quota_bytes=10**9), fleet.user(2)
    terms = _account(fleet, limited).terms
    assert terms is not None
    assert _change(fleet, fleet.endpoint, factor_permille=2_000) == {fleet.node.id}
    assert _account(fleet, limited).terms == fleet.seen(limited).terms == terms + 1
    assert _account(fleet, free).terms is None
    assert not _change(fleet, fleet.endpoint, factor_permille=1_000)
    assert _account(fleet, limited).terms == terms + 1


def test_a_port_that_is_taken_is_taken_for_changes_too(fleet: Fleet) -> None:
    other = _create(fleet)
    with pytest.raises(refusals.Refused, match="port is taken") as refused:
        _change(fleet, other, port=443)
    assert list(refused.value.fields) == ["port"]
    quic = _create(fleet, "hysteria", port=443, security=TLS)
    assert _change(fleet, quic, name="quic") == frozenset()
    with pytest.raises(refusals.Refused, match="port is taken"):
        _change(fleet, fleet.endpoint, transport={"type": "mkcp"})


def test_two_wireguard_endpoints_of_a_node_share_no_network(fleet: Fleet) -> None:
    _create(fleet, "wireguard", options=INTERFACE)
    with pytest.raises(refusals.Refused) as refused:
        _create(fleet, "wireguard", port=8444, options=INTERFACE)
    assert list(refused.value.fields) == ["options.addresses"]
    other = _create(fleet, "wireguard", port=8444, options=INTERFACE | {"addresses": ["10.9.0.1/24"]})
    with pytest.raises(refusals.Refused, match="addresses are taken"):
        _change(fleet, other, options=INTERFACE)


def test_a_wrong_change_names_the_field_and_changes_nothing(fleet: Fleet) -> None:
    with pytest.raises(refusals.Refused) as refused:
        _change(fleet, fleet.endpoint, options={"type": "vless", "flow": "xtls-rprx-vision"}, port=0)
    assert set(refused.value.fields) == {"options.flow", "port"}
    assert fleet.db.read_now(endpoints.one, fleet.endpoint.id) == fleet.endpoint


def test_an_endpoint_that_is_gone_cannot_be_changed(fleet: Fleet) -> None:
    fleet.db.write_now(endpoints.remove, fleet.endpoint.id, ADMIN, NOW_MS)
    with pytest.raises(refusals.Refused, match="no endpoint 1"):
        _change(fleet, fleet.endpoint, port=8443)


def test_a_speed_of_a_user_is_told_with_each_account(fleet: Fleet) -> None:
    user = fleet.user(down_kbps=20_000)
    assert _account(fleet, user).rate == Rate(down_kbps=20_000)
    changed = fleet.change(user, NOW_MS, up_kbps=5_000)
    assert (changed.up_kbps, changed.down_kbps) == (5_000, 20_000)
    assert fleet.seen(user) == changed
    assert _account(fleet, user).rate == Rate(up_kbps=5_000, down_kbps=20_000)
    fleet.change(user, NOW_MS, up_kbps=None, down_kbps=None)
    assert _account(fleet, user).rate is None
    assert _told(fleet, "USER_CHANGED")["changes"] == {
        "up_kbps": {"before": 5_000, "after": None},
        "down_kbps": {"before": 20_000, "after": None},
    }


def test_a_speed_that_no_connection_could_live_with_is_refused(fleet: Fleet) -> None:
    user = fleet.user()
    for kbps in (0, 7, -1, 10**9):
        with pytest.raises(refusals.Refused) as refused:
            fleet.change(user, NOW_MS, up_kbps=kbps)
        assert list(refused.value.fields) == ["up_kbps"]
        with pytest.raises(refusals.Refused) as refused:
            fleet.user(2, down_kbps=kbps)
        assert list(refused.value.fields) == ["down_kbps"]


def test_a_user_of_wireguard_is_not_served_before_he_has_keys(fleet: Fleet) -> None:
    tunnel = _create(fleet, "wireguard", options=INTERFACE)
    user = fleet.user()
    keyless = desired.accounts(user, [fleet.endpoint, tunnel])
    assert [place.key for place in keyless] == [f"account/{user.id}/1"]
    fleet.db.write_now(users.assign, user.id, [tunnel.id], ADMIN, NOW_MS)
    assert set(_items(fleet)) == {"endpoint/1", f"endpoint/{tunnel.id}", f"account/{user.id}/{tunnel.id}"}
