"""Managers, for admins and for the managers above them."""

import asyncio
from typing import Any

import msgspec

from collector import passwords
from collector.app import managers
from collector.domain.access import Actor, Role
from collector.domain.managers import Manager, ManagerChanges, NewManager
from collector.domain.phases import Seen
from collector.domain.resets import Anchor, Mode
from collector.domain.users import Status
from collector.fronts.rest import routes
from collector.fronts.rest.parts import Parts
from collector.fronts.rest.routes import Call, Query, Route
from shared.names import MAX_ID, ManagerId

MOVE_TO = Query(
    name="move_to", default=0, low=0, high=MAX_ID, summary="Manager who gets those below; 0 for nobody."
)
TOP = Query(name="manager", default=0, low=0, high=MAX_ID, summary="Whose tree; 0 for all that is seen.")


class ManagerView(msgspec.Struct, frozen=True, kw_only=True):
    """A manager, with every field under the name by which it is changed, and what there is below him.

    `up_bytes` and `down_bytes` count since `period_start_ms`, those of `life_…` since he was made;
    `held_bytes` is what nodes may still serve without asking. `own_users` are directly below him, `users` at
    any depth, where `sessions`, `online` and `active` count too. `depth` is that in the tree asked for.
    """

    id: ManagerId
    parent: ManagerId | None
    name: str
    status: Status
    reason: str | None
    quota_bytes: int | None
    up_limit_bytes: int | None
    down_limit_bytes: int | None
    max_sessions: int | None
    max_online: int | None
    max_active: int | None
    notice_percent: int
    notices: int
    penalty_s: int
    reset: Mode
    reset_anchor: Anchor
    reset_day: int | None
    reset_month: int | None
    zone: str
    duration_s: int | None
    start_at_ms: int | None
    up_bytes: int
    down_bytes: int
    life_up_bytes: int
    life_down_bytes: int
    held_bytes: int
    period_start_ms: int
    next_reset_ms: int | None
    started_ms: int | None
    expires_ms: int | None
    created_ms: int
    own_users: int
    users: int
    sessions: int
    online: int
    active: int
    depth: int


class Managers(msgspec.Struct, frozen=True):
    """A page of managers; `next` is the `after` of the next page, null on the last one."""

    managers: list[ManagerView]
    next: int | None


class Tree(msgspec.Struct, frozen=True):
    """Managers, each after whoever is above him."""

    managers: list[ManagerView]


class Login(msgspec.Struct, frozen=True):
    """What a manager logs in with; the password is shown only now."""

    username: str
    password: str


async def create(parts: Parts, call: Call[NewManager]) -> ManagerView:
    """Make a manager."""
    zone = parts.zone if call.body.zone is None else call.body.zone
    new = msgspec.structs.replace(call.body, zone=zone)
    made = await parts.change(managers.create, new, call.actor, parts.now_ms())
    return await _one(parts, call, made.id)


async def page(parts: Parts, call: Call[None]) -> Managers:
    """Some of the managers, by id."""
    after, limit = ManagerId(call.query["after"]), call.query["limit"]
    found = await parts.data.read(managers.page, after, limit, parts.sessions.live(), call.actor)
    return Managers(
        [_shown(one, call.actor) for one in found], routes.after(call, [one.manager.id for one in found])
    )


async def tree(parts: Parts, call: Call[None]) -> Tree:
    """A manager with everybody below him, or all."""
    top = ManagerId(call.query["manager"]) or None
    found = await parts.data.read(managers.tree, top, parts.sessions.live(), call.actor)
    return Tree([_shown(one, call.actor) for one in found])


async def one(parts: Parts, call: Call[None]) -> ManagerView:
    """One manager."""
    return await _one(parts, call, ManagerId(call.id))


async def change(parts: Parts, call: Call[ManagerChanges]) -> ManagerView:
    """Change fields of a manager."""
    manager = ManagerId(call.id)
    await parts.change(managers.change, manager, call.body, call.actor, parts.now_ms())
    # Who was switched off must not get in with what was known of him a moment ago, nor anybody below him.
    parts.callers.forget_all()
    return await _one(parts, call, manager)


async def remove(parts: Parts, call: Call[None]) -> None:
    """Take a manager away."""
    move_to = ManagerId(call.query["move_to"]) or None
    await parts.change(managers.remove, ManagerId(call.id), move_to, call.actor, parts.now_ms())
    parts.callers.forget(Actor(Role.MANAGER, call.id))


async def give_login(parts: Parts, call: Call[None]) -> Login:
    """Make a new password for a manager."""
    password = passwords.new_password()
    async with parts.hashing:
        hashed = await asyncio.to_thread(passwords.hash_password, password)
    found = await _set_password(parts, call, hashed)
    return Login(found.name, password)


async def take_login(parts: Parts, call: Call[None]) -> None:
    """Take a manager's login away."""
    await _set_password(parts, call, None)


async def _set_password(parts: Parts, call: Call[None], hashed: str | None) -> Manager:
    manager = ManagerId(call.id)
    found = await parts.change(managers.set_password, manager, hashed, call.actor, parts.now_ms())
    parts.callers.forget(Actor(Role.MANAGER, manager))
    return found


async def _one(parts: Parts, call: Call[Any], manager: ManagerId) -> ManagerView:
    found = await parts.data.read(managers.one, manager, parts.sessions.live(), call.actor)
    return _shown(found, call.actor)


def _shown(seen: Seen, actor: Actor) -> ManagerView:
    manager, valid, schedule = seen.manager, seen.manager.validity, seen.manager.validity.schedule
    return ManagerView(
        id=manager.id,
        # Who is above a manager is nothing that he sees.
        parent=None if manager.id == actor.manager else manager.parent,
        name=manager.name,
        status=manager.status,
        reason=manager.reason,
        notice_percent=manager.notice_percent,
        notices=manager.notices,
        penalty_s=manager.penalty_s,
        reset=schedule.mode,
        reset_anchor=schedule.anchor,
        reset_day=schedule.day,
        reset_month=schedule.month,
        zone=schedule.zone,
        duration_s=valid.duration_s,
        start_at_ms=valid.start_at_ms,
        up_bytes=manager.up_bytes,
        down_bytes=manager.down_bytes,
        life_up_bytes=manager.life_up_bytes,
        life_down_bytes=manager.life_down_bytes,
        held_bytes=manager.held.total,
        period_start_ms=manager.period_start_ms,
        next_reset_ms=manager.next_reset_ms,
        started_ms=manager.started_ms,
        expires_ms=manager.expires_ms,
        created_ms=manager.created_ms,
        own_users=seen.own_users,
        users=seen.users,
        sessions=seen.counts.sessions,
        online=seen.counts.online,
        active=seen.counts.active,
        depth=seen.depth,
        quota_bytes=manager.quota_bytes,
        up_limit_bytes=manager.up_limit_bytes,
        down_limit_bytes=manager.down_limit_bytes,
        max_sessions=manager.max_sessions,
        max_online=manager.max_online,
        max_active=manager.max_active,
    )


ROUTES = (
    Route(
        method="POST",
        path="/api/v1/managers",
        handler=create,
        roles=routes.RESELLERS,
        summary="Create a manager.",
        body=NewManager,
        answer=ManagerView,
        status=201,
    ),
    Route(
        method="GET",
        path="/api/v1/managers",
        handler=page,
        roles=routes.RESELLERS,
        summary="List managers by id.",
        query=routes.PAGING,
        answer=Managers,
    ),
    Route(
        method="GET",
        path="/api/v1/managers/tree",
        handler=tree,
        roles=routes.RESELLERS,
        summary="List managers as a tree, each after whoever is above him.",
        query=(TOP,),
        answer=Tree,
    ),
    Route(
        method="GET",
        path="/api/v1/managers/{id}",
        handler=one,
        roles=routes.RESELLERS,
        summary="Show a manager.",
        answer=ManagerView,
    ),
    Route(
        method="PATCH",
        path="/api/v1/managers/{id}",
        handler=change,
        roles=routes.RESELLERS,
        summary="Change a manager's name, limits, times or parent, or switch him off and on.",
        body=ManagerChanges,
        answer=ManagerView,
    ),
    Route(
        method="DELETE",
        path="/api/v1/managers/{id}",
        handler=remove,
        roles=routes.RESELLERS,
        summary="Remove a manager; those below him go to another one.",
        query=(MOVE_TO,),
        status=204,
    ),
    Route(
        method="POST",
        path="/api/v1/managers/{id}/login",
        handler=give_login,
        roles=routes.RESELLERS,
        summary="Make a new password for a manager; his tokens are void.",
        answer=Login,
        status=201,
    ),
    Route(
        method="DELETE",
        path="/api/v1/managers/{id}/login",
        handler=take_login,
        roles=routes.RESELLERS,
        summary="Take a manager's login away; his tokens are void.",
        status=204,
    ),
)
