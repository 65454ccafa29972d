"""Desired state: differences, full states, acknowledgements."""

import pytest

from collector.app import configs, endpoints, nodes, users
from collector.domain import refusals
from collector.domain.endpoints import NewEndpoint
from collector.domain.users import NewUser, UserChanges
from shared.messages import Account, Applied, SyncReport
from tests.collector.app.fleet import ADMIN, NOW_MS, Fleet, uuid


def test_a_new_user_is_one_item_for_an_agent_that_is_up_to_date(fleet: Fleet) -> None:
    before = fleet.db.read_now(configs.generation, fleet.node.id)
    user = fleet.user()
    difference = fleet.db.read_now(configs.difference, fleet.node.id, before)
    assert not difference.full
    assert [item.body for item in difference.items] == [
        Account(user=user.id, endpoint=fleet.endpoint.id, uuid=user.uuid)
    ]


def test_an_agent_without_a_state_gets_all_and_no_tombstones(fleet: Fleet) -> None:
    gone, kept = fleet.user(1), fleet.user(2)
    fleet.db.write_now(users.remove, gone.id, ADMIN, NOW_MS)
    full = fleet.db.read_now(configs.difference, fleet.node.id, 0)
    assert full.full
    assert {item.key for item in full.items} == {
        f"endpoint/{fleet.endpoint.id}",
        f"account/{kept.id}/{fleet.endpoint.id}",
    }


def test_an_agent_ahead_of_a_restored_database_gets_the_full_state(fleet: Fleet) -> None:
    assert fleet.db.read_now(configs.difference, fleet.node.id, 10_000).full


def test_acknowledged_tombstones_go_and_an_older_agent_gets_the_full_state(fleet: Fleet) -> None:
    user = fleet.user()
    old = fleet.db.read_now(configs.generation, fleet.node.id)
    fleet.db.write_now(users.remove, user.id, ADMIN, NOW_MS)
    now = fleet.db.read_now(configs.generation, fleet.node.id)
    assert not fleet.db.read_now(configs.difference, fleet.node.id, old).full
    fleet.db.write_now(configs.acknowledge, fleet.node.id, SyncReport(generation=now, items=[]), NOW_MS)
    assert fleet.db.read_now(configs.difference, fleet.node.id, old).full
    assert not fleet.db.read_now(configs.difference, fleet.node.id, now).full


def test_a_failed_item_is_shown_until_it_succeeds(fleet: Fleet) -> None:
    now = fleet.db.read_now(configs.generation, fleet.node.id)
    key = f"endpoint/{fleet.endpoint.id}"
    bad = SyncReport(generation=now, items=[Applied(key=key, generation=now, error="port 443 is taken")])
    fleet.db.write_now(configs.acknowledge, fleet.node.id, bad, NOW_MS)
    assert fleet.db.read_now(nodes.one, fleet.node.id, NOW_MS).failures == {key: "port 443 is taken"}
    good = SyncReport(generation=now, items=[Applied(key=key, generation=now)])
    fleet.db.write_now(configs.acknowledge, fleet.node.id, good, NOW_MS)
    assert fleet.db.read_now(nodes.one, fleet.node.id, NOW_MS).failures == {}


def test_of_an_item_that_is_named_twice_the_last_outcome_counts(fleet: Fleet) -> None:
    now = fleet.db.read_now(configs.generation, fleet.node.id)
    key = f"endpoint/{fleet.endpoint.id}"
    told = [Applied(key=key, generation=now, error=reason) for reason in ("port 443 is taken", "no route")]
    twice = SyncReport(generation=now, items=told)
    fleet.db.write_now(configs.acknowledge, fleet.node.id, twice, NOW_MS)
    assert fleet.db.read_now(nodes.one, fleet.node.id, NOW_MS).failures == {key: "no route"}


def test_a_generation_never_given_out_cannot_be_acknowledged(fleet: Fleet) -> None:
    with pytest.raises(refusals.Refused, match="never given out"):
        fleet.db.write_now(configs.acknowledge, fleet.node.id, SyncReport(generation=10**6, items=[]), NOW_MS)


def test_the_same_decision_makes_no_new_generation(fleet: Fleet) -> None:
    user = fleet.user(quota_bytes=10**9)
    change = fleet.db.write_now(users.change, user.id, UserChanges(quota_bytes=10**12), ADMIN, NOW_MS)
    assert not change.nodes


def test_removing_an_endpoint_takes_its_accounts_with_it(fleet: Fleet) -> None:
    fleet.user()
    fleet.db.write_now(endpoints.remove, fleet.endpoint.id, ADMIN, NOW_MS)
    assert fleet.db.read_now(configs.difference, fleet.node.id, 0).items == []


def test_two_endpoints_of_a_node_cannot_share_a_port(fleet: Fleet) -> None:
    new = NewEndpoint(name="again", protocol="vless", port=443)
    with pytest.raises(refusals.Refused) as refused:
        fleet.db.write_now(endpoints.create, fleet.node.id, new, ADMIN, NOW_MS)
    assert "port" in refused.value.fields


@pytest.mark.parametrize(
    ("new", "field"),
    [
        (NewEndpoint(name="x", protocol="socks", port=1), "protocol"),
        (NewEndpoint(name="x", protocol="vless", port=0), "port"),
        (NewEndpoint(name="x", protocol="vless", port=70_000), "port"),
        *(
            (NewEndpoint(name="x", protocol="vless", port=1, listen=listen), "listen")
            for listen in (
                *("nowhere", "fe80::1%eth0", '::1%a\nb"', "::ffff:10.0.0.1"),
                *("224.0.0.1", "ff02::1", "255.255.255.255", "0.0.0.1"),
            )
        ),
        (NewEndpoint(name="x\nPostUp = rm", protocol="vless", port=1), "name"),
    ],
)
def test_a_bad_endpoint_is_refused_with_the_field_named(fleet: Fleet, new: NewEndpoint, field: str) -> None:
    with pytest.raises(refusals.Refused) as refused:
        fleet.db.write_now(endpoints.create, fleet.node.id, new, ADMIN, NOW_MS)
    assert list(refused.value.fields) == [field]


def test_uuids_that_vless_cannot_tell_apart_are_refused(fleet: Fleet) -> None:
    fleet.user(1)
    twin = uuid(1).replace("-4000-", "-4001-")
    with pytest.raises(refusals.Refused) as refused:
        fleet.db.write_now(users.create, NewUser(name="twin", uuid=twin), twin, ADMIN, NOW_MS)
    assert "uuid" in refused.value.fields


def test_a_name_is_free_again_after_a_removal(fleet: Fleet) -> None:
    first = fleet.user(1)
    fleet.db.write_now(users.remove, first.id, ADMIN, NOW_MS)
    assert fleet.user(1).id > first.id
