"""Users, for admins."""

import uuid

import msgspec

from collector.app import users
from collector.domain.users import NewUser, UsageView, User, UserChanges
from collector.fronts.rest import routes
from collector.fronts.rest.parts import Parts
from collector.fronts.rest.routes import Call, Route
from shared.messages import Body
from shared.names import EndpointId, UserId


class Users(msgspec.Struct, frozen=True):
    """A page of users; `next` is the `after` of the next page, null on the last one."""

    users: list[User]
    next: int | None


class Assignment(Body, frozen=True):
    """The endpoints that a user may use from now on, and no others."""

    endpoints: list[EndpointId]


async def create(parts: Parts, call: Call[NewUser]) -> User:
    """Make a user."""
    identity = call.body.uuid or str(uuid.uuid4())
    return await parts.change(users.create, call.body, identity, call.actor, parts.now_ms())


async def page(parts: Parts, call: Call[None]) -> Users:
    """Some of the users, by id."""
    found = await parts.data.read(users.page, UserId(call.query["after"]), call.query["limit"])
    return Users(found, routes.after(call, [user.id for user in found]))


async def one(parts: Parts, call: Call[None]) -> User:
    """One user."""
    return await parts.data.read(users.one, UserId(call.id))


async def change(parts: Parts, call: Call[UserChanges]) -> User:
    """Change fields of a user."""
    return await parts.change(users.change, UserId(call.id), call.body, call.actor, parts.now_ms())


async def remove(parts: Parts, call: Call[None]) -> None:
    """Take a user away."""
    await parts.change(users.remove, UserId(call.id), call.actor, parts.now_ms())


async def assign(parts: Parts, call: Call[Assignment]) -> User:
    """Put a user on exactly these endpoints."""
    wanted = call.body.endpoints
    return await parts.change(users.assign, UserId(call.id), wanted, call.actor, parts.now_ms())


async def usage(parts: Parts, call: Call[None]) -> UsageView:
    """What a user has used."""
    return await parts.data.read(users.usage, UserId(call.id))


ROUTES = (
    Route(
        method="POST",
        path="/api/v1/users",
        handler=create,
        roles=routes.ADMINS,
        summary="Create a user.",
        body=NewUser,
        answer=User,
        status=201,
    ),
    Route(
        method="GET",
        path="/api/v1/users",
        handler=page,
        roles=routes.ADMINS,
        summary="List users by id.",
        query=routes.PAGING,
        answer=Users,
    ),
    Route(
        method="GET",
        path="/api/v1/users/{id}",
        handler=one,
        roles=routes.ADMINS,
        summary="Show a user.",
        answer=User,
    ),
    Route(
        method="PATCH",
        path="/api/v1/users/{id}",
        handler=change,
        roles=routes.ADMINS,
        summary="Change a user's name or quota, or switch him off and on.",
        body=UserChanges,
        answer=User,
    ),
    Route(
        method="DELETE",
        path="/api/v1/users/{id}",
        handler=remove,
        roles=routes.ADMINS,
        summary="Remove a user.",
        status=204,
    ),
    Route(
        method="GET",
        path="/api/v1/users/{id}/usage",
        handler=usage,
        roles=routes.ADMINS,
        summary="Show what a user has used.",
        answer=UsageView,
    ),
    Route(
        method="POST",
        path="/api/v1/users/{id}/configs",
        handler=assign,
        roles=routes.ADMINS,
        summary="Put a user on exactly these endpoints.",
        body=Assignment,
        answer=User,
    ),
)
