"""Statuses follow counters and quota."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from collector.domain import standing, users
from collector.domain.users import NewUser, Status, User, UserChanges
from shared.names import UserId

USER = User(
    id=UserId(1),
    uuid="00000000-0000-4000-8000-000000000000",
    name="alice",
    status=Status.ACTIVE,
    reason=None,
    quota_bytes=100,
    up_bytes=0,
    down_bytes=0,
    created_ms=0,
)


@given(st.integers(0, 300), st.integers(0, 300), st.none() | st.integers(0, 300))
def test_a_user_is_served_exactly_while_something_of_his_quota_is_left(
    up: int, down: int, quota: int | None
) -> None:
    after = standing.charged(structs.replace(USER, quota_bytes=quota), up, down, 5)
    assert after.served == (quota is None or up + down < quota)
    assert after.total_bytes == up + down


def test_only_the_suspension_for_the_quota_is_lifted_by_a_higher_quota() -> None:
    penalised = structs.replace(USER, status=Status.SUSPENDED, reason="penalty")
    assert standing.changed(penalised, UserChanges(quota_bytes=None), 5).status is Status.SUSPENDED


def test_switching_on_a_user_who_is_over_his_quota_leaves_him_suspended() -> None:
    off = structs.replace(USER, status=Status.INACTIVE, up_bytes=100)
    assert standing.changed(off, UserChanges(active=True), 5).status is Status.SUSPENDED


def test_switching_off_holds_whatever_the_quota_says() -> None:
    off = standing.changed(USER, UserChanges(active=False), 5)
    assert standing.charged(off, 1, 1, 5).status is Status.INACTIVE


def test_the_first_use_is_kept() -> None:
    twice = standing.charged(standing.charged(USER, 1, 0, 5), 1, 0, 9)
    assert (twice.first_used_ms, twice.last_used_ms) == (5, 9)


@pytest.mark.parametrize(
    ("new", "field"),
    [
        (NewUser(name=""), "name"),
        (NewUser(name="a\nb"), "name"),
        (NewUser(name="$(rm)"), "name"),
        (NewUser(name="a", quota_bytes=-1), "quota_bytes"),
        (NewUser(name="a", quota_bytes=2**63), "quota_bytes"),
        (NewUser(name="a", uuid="abc"), "uuid"),
        (NewUser(name="a", uuid="0000000000000-0000-000-8000-00000000000"), "uuid"),
    ],
)
def test_a_wrong_field_of_a_new_user_is_named(new: NewUser, field: str) -> None:
    assert list(users.wrong(new)) == [field]


def test_all_wrong_fields_are_named_together() -> None:
    assert set(users.wrong(NewUser(name="", quota_bytes=-1, uuid="x"))) == {"name", "quota_bytes", "uuid"}
