"""Users, for admins and for the managers above them."""

import uuid

import msgspec

from collector.app import users
from collector.domain.resets import Anchor, Mode
from collector.domain.users import NewUser, Status, UsageView, User, UserChanges
from collector.domain.wireguard import Wish
from collector.fronts.rest import routes
from collector.fronts.rest.parts import Parts
from collector.fronts.rest.routes import Call, Query, Route
from shared.messages import Body
from shared.names import MAX_ID, EndpointId, ManagerId, UserId

OF_MANAGER = Query(
    name="manager", default=0, low=0, high=MAX_ID, summary="Only users of this manager; 0 for all."
)
BELOW = Query(name="below", default=0, low=0, high=1, summary="1: users of managers below that one as well.")


class UserView(msgspec.Struct, frozen=True, kw_only=True):
    """A user, with every field under the name by which it is changed.

    `up_bytes` and `down_bytes` count since `period_start_ms`, those of `life_…` since he was made. `up_kbps`
    and `down_kbps` bound his speed on each endpoint, in kbit/s.
    """

    id: UserId
    uuid: str
    name: str
    manager: ManagerId | None
    status: Status
    reason: str | None
    quota_bytes: int | None
    up_limit_bytes: int | None
    down_limit_bytes: int | None
    terms: int
    reset: Mode
    reset_anchor: Anchor
    reset_day: int | None
    reset_month: int | None
    zone: str
    duration_s: int | None
    start_at_ms: int | None
    max_concurrent: int | None
    allowed_devices: tuple[str, ...]
    up_kbps: int | None
    down_kbps: int | None
    up_bytes: int
    down_bytes: int
    life_up_bytes: int
    life_down_bytes: int
    period_start_ms: int
    next_reset_ms: int | None
    started_ms: int | None
    expires_ms: int | None
    created_ms: int
    first_used_ms: int | None
    last_used_ms: int | None
    first_connected_ms: int | None
    last_connected_ms: int | None


class Users(msgspec.Struct, frozen=True):
    """A page of users; `next` is the `after` of the next page, null on the last one."""

    users: list[UserView]
    next: int | None


class Assignment(Body, frozen=True):
    """The endpoints that a user may use from now on, and no others; and what he wishes on WireGuard's."""

    endpoints: list[EndpointId]
    wireguard: dict[EndpointId, Wish] = msgspec.field(default_factory=dict)


async def create(parts: Parts, call: Call[NewUser]) -> UserView:
    """Make a user."""
    identity = call.body.uuid or str(uuid.uuid4())
    zone = parts.zone if call.body.zone is None else call.body.zone
    new = msgspec.structs.replace(call.body, zone=zone)
    terms, now_ms = parts.tunnels.terms, parts.now_ms()
    return _shown(await parts.change(users.create, new, identity, call.actor, now_ms, terms))


async def page(parts: Parts, call: Call[None]) -> Users:
    """Some of the users, by id."""
    after, limit = UserId(call.query["after"]), call.query["limit"]
    manager, below = ManagerId(call.query["manager"]) or None, bool(call.query["below"])
    found = await parts.data.read(users.page, after, limit, call.actor, manager=manager, below=below)
    return Users([_shown(user) for user in found], routes.after(call, [user.id for user in found]))


async def one(parts: Parts, call: Call[None]) -> UserView:
    """One user."""
    return _shown(await parts.data.read(users.one, UserId(call.id), call.actor))


async def change(parts: Parts, call: Call[UserChanges]) -> UserView:
    """Change fields of a user."""
    user = UserId(call.id)
    return _shown(await parts.change(users.change, user, call.body, call.actor, parts.now_ms()))


async def remove(parts: Parts, call: Call[None]) -> None:
    """Take a user away."""
    await parts.change(users.remove, UserId(call.id), call.actor, parts.now_ms())


async def assign(parts: Parts, call: Call[Assignment]) -> UserView:
    """Put a user on exactly these endpoints."""
    user, wanted, wishes = UserId(call.id), call.body.endpoints, call.body.wireguard
    terms, now_ms = parts.tunnels.terms, parts.now_ms()
    return _shown(await parts.change(users.assign, user, wanted, call.actor, now_ms, terms, wishes=wishes))


async def usage(parts: Parts, call: Call[None]) -> UsageView:
    """What a user has used."""
    return await parts.data.read(users.usage, UserId(call.id), call.actor)


def _shown(user: User) -> UserView:
    valid, schedule = user.validity, user.validity.schedule
    return UserView(
        id=user.id,
        uuid=user.uuid,
        name=user.name,
        manager=user.manager,
        status=user.status,
        reason=user.reason,
        quota_bytes=user.quota_bytes,
        up_limit_bytes=user.up_limit_bytes,
        down_limit_bytes=user.down_limit_bytes,
        terms=user.terms,
        reset=schedule.mode,
        reset_anchor=schedule.anchor,
        reset_day=schedule.day,
        reset_month=schedule.month,
        zone=schedule.zone,
        duration_s=valid.duration_s,
        start_at_ms=valid.start_at_ms,
        max_concurrent=user.max_concurrent,
        allowed_devices=user.allowed_devices,
        up_kbps=user.up_kbps,
        down_kbps=user.down_kbps,
        up_bytes=user.up_bytes,
        down_bytes=user.down_bytes,
        life_up_bytes=user.life_up_bytes,
        life_down_bytes=user.life_down_bytes,
        period_start_ms=user.period_start_ms,
        next_reset_ms=user.next_reset_ms,
        started_ms=user.started_ms,
        expires_ms=user.expires_ms,
        created_ms=user.created_ms,
        first_used_ms=user.first_used_ms,
        last_used_ms=user.last_used_ms,
        first_connected_ms=user.first_connected_ms,
        last_connected_ms=user.last_connected_ms,
    )


ROUTES = (
    Route(
        method="POST",
        path="/api/v1/users",
        handler=create,
        roles=routes.RESELLERS,
        summary="Create a user.",
        body=NewUser,
        answer=UserView,
        status=201,
    ),
    Route(
        method="GET",
        path="/api/v1/users",
        handler=page,
        roles=routes.RESELLERS,
        summary="List users by id.",
        query=(*routes.PAGING, OF_MANAGER, BELOW),
        answer=Users,
    ),
    Route(
        method="GET",
        path="/api/v1/users/{id}",
        handler=one,
        roles=routes.RESELLERS,
        summary="Show a user.",
        answer=UserView,
    ),
    Route(
        method="PATCH",
        path="/api/v1/users/{id}",
        handler=change,
        roles=routes.RESELLERS,
        summary="Change a user's name, limits, speed, times or manager, or switch him off and on.",
        body=UserChanges,
        answer=UserView,
    ),
    Route(
        method="DELETE",
        path="/api/v1/users/{id}",
        handler=remove,
        roles=routes.RESELLERS,
        summary="Remove a user.",
        status=204,
    ),
    Route(
        method="GET",
        path="/api/v1/users/{id}/usage",
        handler=usage,
        roles=routes.RESELLERS,
        summary="Show what a user has used.",
        answer=UsageView,
    ),
    Route(
        method="POST",
        path="/api/v1/users/{id}/configs",
        handler=assign,
        roles=routes.RESELLERS,
        summary="Put a user on exactly these endpoints.",
        body=Assignment,
        answer=UserView,
    ),
)
