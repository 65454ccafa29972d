"""Managers: the tree is kept right whatever is asked, and everybody keeps to what is below him."""

import functools
from collections.abc import Callable

import pytest

from collector.app import managers, users
from collector.domain.access import Actor, Role
from collector.domain.leases import Bytes
from collector.domain.managers import Manager
from collector.domain.refusals import Kind, Refused
from collector.domain.users import NewUser, User
from collector.store import managers as rows
from shared.names import ManagerId, UserId
from tests.collector.app.fleet import ADMIN, NOW_MS, Fleet, uuid
from tests.collector.app.resellers import Resellers


@pytest.fixture
def resellers(fleet: Fleet) -> Resellers:
    return Resellers(fleet)


def acting(manager: Manager) -> Actor:
    return Actor(Role.MANAGER, manager.id)


def refused(ask: Callable[[], object], kind: Kind, *fields: str) -> Refused:
    with pytest.raises(Refused) as refusal:
        ask()
    assert refusal.value.kind is kind
    assert set(refusal.value.fields) == set(fields)
    return refusal.value


def remove(
    resellers: Resellers, manager: Manager, move_to: Manager | None = None, actor: Actor = ADMIN
) -> None:
    to = move_to.id if move_to else None
    resellers.fleet.db.write_now(managers.remove, manager.id, to, actor, NOW_MS)


def test_a_limit_above_an_ancestors_is_refused_with_the_figure_at_any_depth(resellers: Resellers) -> None:
    top = resellers.made("top", max_online=100)
    middle = resellers.made("middle", top)
    wrong = refused(lambda: resellers.made("leaf", middle, max_online=101), Kind.INVALID, "max_online")
    assert "100" in wrong.fields["max_online"]
    leaf = resellers.made("leaf", middle, max_online=100)
    refused(lambda: resellers.change(leaf, max_online=101), Kind.INVALID, "max_online")


def test_a_limit_is_not_lowered_below_a_descendants_who_is_named(resellers: Resellers) -> None:
    top = resellers.made("top")
    leaf = resellers.made("leaf", resellers.made("middle", top), quota_bytes=50)
    wrong = refused(lambda: resellers.change(top, quota_bytes=49), Kind.INVALID, "quota_bytes")
    assert f"{leaf.id} leaf: 50" in wrong.fields["quota_bytes"]
    assert resellers.change(top, quota_bytes=50).quota_bytes == 50


def test_a_move_is_checked_as_a_new_place_is_and_no_cycle_comes_of_it(resellers: Resellers) -> None:
    narrow, wide = resellers.made("narrow", max_active=5), resellers.made("wide", max_active=50)
    middle = resellers.made("middle", wide)
    leaf = resellers.made("leaf", middle, max_active=10)
    refused(lambda: resellers.change(middle, parent=narrow.id), Kind.INVALID, "parent")
    refused(lambda: resellers.change(leaf, parent=narrow.id), Kind.INVALID, "max_active")
    assert resellers.change(leaf, parent=narrow.id, max_active=5).parent == narrow.id
    refused(lambda: resellers.change(wide, parent=middle.id), Kind.INVALID, "parent")
    refused(lambda: resellers.change(wide, parent=wide.id), Kind.INVALID, "parent")
    moved = resellers.fleet.db.write_now(managers.move, middle.id, narrow.id, ADMIN, NOW_MS).value
    assert moved.parent == narrow.id
    assert resellers.change(moved, parent=None).parent is None


def test_bytes_stay_with_those_under_whom_they_were_used_and_holdings_go_along(resellers: Resellers) -> None:
    old, new = resellers.made("old"), resellers.made("new")
    leaf = resellers.made("leaf", old)
    resellers.charge(leaf, 1, 2)
    resellers.fleet.db.write_now(rows.reserve, {leaf.id: Bytes(9, 4, 5)})
    resellers.change(leaf, parent=new.id)
    resellers.charge(leaf, 10, 20)
    assert [resellers.seen(one).manager.used for one in (old, new)] == [Bytes(3, 1, 2), Bytes(30, 10, 20)]
    assert resellers.seen(leaf).manager.used == Bytes(33, 11, 22)
    assert [resellers.seen(one).manager.held for one in (old, new)] == [Bytes(), Bytes(9, 4, 5)]


def test_leases_that_were_given_under_others_are_void_below_a_limit_of_bytes(resellers: Resellers) -> None:
    fleet = resellers.fleet
    limited, leaf = resellers.made("limited", quota_bytes=100), resellers.made("leaf", quota_bytes=50)
    moved, given = fleet.user(1, manager=leaf.id), fleet.user(2, manager=resellers.made("gone").id)
    resellers.run()
    before = [fleet.seen(user).terms for user in (moved, given)]
    resellers.change(leaf, parent=limited.id)
    gone = resellers.fleet.db.read_now(managers.one, given.manager or ManagerId(0), {}, ADMIN).manager
    remove(resellers, gone, limited)
    resellers.run()
    after = [fleet.seen(user) for user in (moved, given)]
    assert all(user.pooled for user in after)
    assert all(user.terms > terms for user, terms in zip(after, before, strict=True))


def test_names_are_one_mans_and_not_an_admins(resellers: Resellers) -> None:
    resellers.made("ada")
    refused(lambda: resellers.made("ada"), Kind.CONFLICT, "name")
    bob = resellers.made("bob")
    refused(lambda: resellers.change(bob, name="ada"), Kind.CONFLICT, "name")


def test_who_has_somebody_below_him_is_removed_only_with_a_place_for_them(resellers: Resellers) -> None:
    fleet = resellers.fleet
    top, heir = resellers.made("top"), resellers.made("heir", max_active=7)
    child = resellers.made("child", top, max_active=8)
    user = fleet.user(1, manager=top.id)
    refused(lambda: remove(resellers, top), Kind.CONFLICT)
    refused(lambda: remove(resellers, top, child), Kind.INVALID, "move_to")
    refused(lambda: remove(resellers, top, heir), Kind.INVALID, "max_active")
    resellers.change(child, max_active=None)
    remove(resellers, top, heir)
    refused(lambda: resellers.seen(top), Kind.NOT_FOUND)
    assert fleet.seen(user).manager == heir.id
    assert resellers.seen(child).manager.parent == heir.id
    assert (resellers.seen(heir).users, resellers.seen(heir).own_users) == (1, 1)
    fleet.db.write_now(users.remove, user.id, ADMIN, NOW_MS)
    remove(resellers, child)
    remove(resellers, heir)
    assert resellers.made("heir").id > child.id


def test_the_tree_shows_everybody_with_what_is_below_him(resellers: Resellers) -> None:
    fleet = resellers.fleet
    top = resellers.made("top")
    left, right = resellers.made("left", top), resellers.made("right", top)
    leaf = resellers.made("leaf", left)
    people = [fleet.user(number, manager=one.id) for number, one in enumerate((top, left, leaf, leaf))]
    resellers.live = {people[0].id: 1, people[2].id: 3}
    fleet.report((people[2].id, fleet.endpoint.id, 0, 5))
    tree = fleet.db.read_now(managers.tree, None, resellers.live, ADMIN)
    assert [(one.manager.id, one.depth) for one in tree] == [
        (top.id, 0),
        (left.id, 1),
        (leaf.id, 2),
        (right.id, 1),
    ]
    assert [(one.own_users, one.users) for one in tree] == [(1, 4), (1, 3), (2, 2), (0, 0)]
    assert [(one.counts.sessions, one.counts.online, one.counts.active) for one in tree] == [
        (4, 2, 1),
        (3, 1, 1),
        (3, 1, 1),
        (0, 0, 0),
    ]
    part = fleet.db.read_now(managers.tree, left.id, resellers.live, ADMIN)
    assert [(one.manager.id, one.depth) for one in part] == [(left.id, 0), (leaf.id, 1)]


def strange(resellers: Resellers, somebody: Manager, me: Actor) -> None:
    """Whatever `me` asks of somebody who is not below him, there is nobody."""
    look = functools.partial(resellers.fleet.db.read_now, managers.one, somebody.id, {}, me)
    refused(look, Kind.NOT_FOUND)
    refused(lambda: resellers.change(somebody, actor=me, notices=1), Kind.NOT_FOUND)
    refused(lambda: remove(resellers, somebody, actor=me), Kind.NOT_FOUND)
    refused(lambda: resellers.made("new", somebody, me), Kind.INVALID, "parent")


def test_a_manager_touches_only_what_is_below_him(resellers: Resellers) -> None:
    fleet = resellers.fleet
    top, other = resellers.made("top"), resellers.made("other")
    own = resellers.made("own", top, acting(top))
    me, stranger = acting(own), fleet.user(1, manager=other.id)
    for somebody in (top, other):
        strange(resellers, somebody, me)
    assert fleet.db.read_now(managers.one, own.id, {}, me).manager.id == own.id
    refused(lambda: resellers.change(own, actor=me, notices=1), Kind.FORBIDDEN)
    refused(lambda: fleet.db.read_now(users.one, stranger.id, me), Kind.NOT_FOUND)
    refused(lambda: fleet.db.write_now(users.remove, stranger.id, me, NOW_MS), Kind.NOT_FOUND)
    unowned = fleet.user(2)
    refused(lambda: fleet.db.read_now(users.usage, unowned.id, me), Kind.NOT_FOUND)


def test_what_a_manager_makes_is_below_him(resellers: Resellers) -> None:
    fleet = resellers.fleet
    top = resellers.made("top", max_online=9)
    me = acting(top)
    assert resellers.made("sub", actor=me, max_online=9).parent == top.id
    refused(lambda: resellers.made("much", actor=me, max_online=10), Kind.INVALID, "max_online")

    def make(number: int, manager: ManagerId | None) -> User:
        new = NewUser(name=f"u-{number}", manager=manager)
        return fleet.db.write_now(users.create, new, uuid(number), me, NOW_MS).value

    other = resellers.made("other")
    assert make(1, None).manager == top.id
    refused(lambda: make(2, other.id), Kind.INVALID, "manager")
    mine, theirs = make(3, None), fleet.user(4, manager=other.id)
    seen = fleet.db.read_now(users.page, UserId(0), 10, me)
    assert [user.manager for user in seen] == [top.id, top.id]
    assert theirs.id not in {user.id for user in seen}
    refused(lambda: fleet.change(mine, NOW_MS, manager=99), Kind.INVALID, "manager")
    created = [event for event in resellers.events(resellers.made("last", actor=me)) if event.kind]
    assert created[0].actor == f"manager:{top.id}"


def test_a_taken_name_does_not_tell_a_manager_whose_it_is(resellers: Resellers) -> None:
    top = resellers.made("top")
    resellers.fleet.user(1)
    new = NewUser(name="user-1")
    ask = lambda: resellers.fleet.db.write_now(users.create, new, uuid(9), acting(top), NOW_MS)  # noqa: E731 - one line
    assert "somebody" in refused(ask, Kind.CONFLICT, "name").fields["name"]
