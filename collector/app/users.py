"""Users: created, changed, placed on endpoints, looked at (rows R2, H1, H2, H7)."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from msgspec import UNSET, structs

from collector.app import configs, tenants, wireguard
from collector.domain import course, refusals, standing
from collector.domain import endpoints as places
from collector.domain import users as rules
from collector.domain.access import SYSTEM, Actor
from collector.domain.changes import Change
from collector.domain.endpoints import Endpoint
from collector.domain.users import NewUser, UsageView, User, UserChanges
from collector.domain.wireguard import Terms, Wish
from collector.store import endpoints, events, leases, managers, users
from collector.store.session import Session
from shared.names import EndpointId, ManagerId, NodeId, UserId


def create(
    session: Session, new: NewUser, uuid: str, actor: Actor, now_ms: int, terms: Terms = wireguard.TERMS
) -> Change[User]:
    """Make a user and place him on the endpoints asked for; their nodes are told."""
    if fields := rules.wrong(new):
        raise refusals.invalid(fields)
    _require_free(session, actor, name=new.name, uuid=uuid)
    manager, stopped, pooled = tenants.joined(session, actor, new.manager, own=True)
    asked = structs.replace(new, manager=manager)
    fresh = standing.fresh(asked, uuid, now_ms, stopped=stopped, pooled=pooled)
    user = users.insert(session, fresh, rules.uuid_key(uuid))
    _place(session, user.id, new.endpoints)
    events.append_all(session, course.created(user, new.endpoints, actor, now_ms))
    wireguard.settle(session, user, new.wireguard, actor, now_ms, terms)
    return Change(user, configs.refresh(session, [user]))


def one(session: Session, user: UserId, actor: Actor = SYSTEM) -> User:
    """A user with his counters."""
    return tenants.require_user(session, actor, user)


def page(
    session: Session,
    after: UserId,
    limit: int,
    actor: Actor = SYSTEM,
    *,
    manager: ManagerId | None = None,
    below: bool = False,
) -> list[User]:
    """Users in the order of their ids, those after the given one: all whom the caller may see.

    With a manager only those directly below him, or at any depth.
    """
    if manager is None:
        return users.page(session, after, limit, tenants.scope(session, actor))
    tenants.require_manager(session, actor, manager)
    of = [one.id for one in managers.below(session, manager)] if below else [manager]
    return users.page(session, after, limit, of)


def change(session: Session, user: UserId, changes: UserChanges, actor: Actor, now_ms: int) -> Change[User]:
    """Change a user; a quota that allows more, or a later end, brings him back."""
    before = one(session, user, actor)
    if fields := rules.wrong_changes(before, changes):
        raise refusals.invalid(fields)
    current = standing.advanced(before, now_ms)
    after = standing.changed(_moved(session, current, changes, actor), changes, now_ms)
    if after.name != before.name:
        _require_free(session, actor, name=after.name, uuid=after.uuid, but=user)
    users.save(session, after)
    users.save_counters(session, [after])
    _note_passage(session, before, current, SYSTEM, now_ms)
    events.append_all(session, course.changed(before, after, actor, now_ms))
    if after.standing != before.standing:
        _note_status(session, after, actor, now_ms)
    return Change(after, configs.refresh(session, [after]))


def settle(
    session: Session,
    before: Mapping[UserId, User],
    after: Iterable[User],
    steps: Iterable[tuple[User, User]],
    actor: Actor,
    now_ms: int,
) -> frozenset[NodeId]:
    """Keep what became of users through bytes and time, with the events of it; returns whom it concerns.

    `steps` are the moves on the way: through time, and through the bytes of a moment.
    """
    moved = [user for user in after if user is not before[user.id]]
    users.save_counters(
        session, [user for user in moved if user.counted_from != before[user.id].counted_from]
    )
    judged = [user for user in moved if user.standing != before[user.id].standing]
    dated = [user for user in moved if user.due_ms != before[user.id].due_ms]
    users.save_standing(session, [*judged, *dated])
    told = [event for step in steps for event in course.passed(*step, actor, now_ms)]
    events.append_all(
        session, told + [event for user in judged for event in course.judged(user, actor, now_ms)]
    )
    gone = users.removed_among(session, (user.id for user in judged))
    return configs.refresh(session, (user for user in judged if user.id not in gone))


def remove(session: Session, user: UserId, actor: Actor, now_ms: int) -> Change[None]:
    """Take a user away; bytes that nodes report later are still booked to him."""
    found = one(session, user, actor)
    users.remove(session, user, now_ms)
    wireguard.release(session, user, now_ms)
    events.append_all(session, course.removed(found, actor, now_ms))
    return Change(None, configs.refresh(session, [found]))


def assign(
    session: Session,
    user: UserId,
    wanted: Iterable[EndpointId],
    actor: Actor,
    now_ms: int,
    terms: Terms = wireguard.TERMS,
    *,
    wishes: Mapping[EndpointId, Wish] = MappingProxyType({}),
) -> Change[User]:
    """Put a user on exactly these endpoints (R2: assign or reassign), with these wishes for WireGuard's.

    A dearer one on a node that was lent some of his limits voids that, since it counts bytes as cheaper ones.
    """
    found, before = one(session, user, actor), endpoints.of_user(session, user)
    _place(session, user, wanted)
    if found.limited and _is_dearer(session, user, before):
        found = standing.dearer(found)
        users.pool(session, [found])
    told = course.assigned(found, (each.id for each in before), wanted, actor, now_ms)
    events.append_all(session, told)
    wireguard.settle(session, found, wishes, actor, now_ms, terms)
    return Change(found, configs.refresh(session, [found]))


def usage(session: Session, user: UserId, actor: Actor = SYSTEM) -> UsageView:
    """What a user has used, in all and by endpoint."""
    found = one(session, user, actor)
    return UsageView(
        user=found.id,
        status=found.status,
        quota_bytes=found.quota_bytes,
        up=found.up_bytes,
        down=found.down_bytes,
        total=found.total_bytes,
        life_up=found.life_up_bytes,
        life_down=found.life_down_bytes,
        period_start_ms=found.period_start_ms,
        next_reset_ms=found.next_reset_ms,
        started_ms=found.started_ms,
        expires_ms=found.expires_ms,
        endpoints=users.usage_by_endpoint(session, user),
    )


def _is_dearer(session: Session, user: UserId, before: Iterable[Endpoint]) -> bool:
    return not places.dearer(before, endpoints.of_user(session, user)).isdisjoint(leases.lent(session, user))


def _note_status(session: Session, user: User, actor: Actor, now_ms: int) -> None:
    """Record that a user's status changed, with the figures it was judged by."""
    events.append_all(session, course.judged(user, actor, now_ms))


def _note_passage(session: Session, before: User, after: User, actor: Actor, now_ms: int) -> None:
    """Record what time and bytes did to a user besides his status."""
    events.append_all(session, course.passed(before, after, actor, now_ms))


def _place(session: Session, user: UserId, wanted: Iterable[EndpointId]) -> None:
    missing = [one for one in set(wanted) if endpoints.one(session, one) is None]
    if missing:
        listed = ", ".join(str(number) for number in sorted(missing))
        raise refusals.invalid({"endpoints": f"there is no endpoint {listed}"})
    endpoints.assign(session, user, wanted)


def _moved(session: Session, user: User, changes: UserChanges, actor: Actor) -> User:
    """The user with what his new manager may have served, where the changes name one."""
    if changes.manager is UNSET or changes.manager == user.manager:
        return user
    manager, stopped, pooled = tenants.joined(session, actor, changes.manager)
    tenants.rehold(session, user.id, user.manager, manager)
    # Leases were given with regard to those who were above him.
    return structs.replace(standing.shared(user, pooled=pooled), manager_stopped=stopped)


def _require_free(session: Session, actor: Actor, *, name: str, uuid: str, but: UserId | None = None) -> None:
    held = users.holder(session, name=name, uuid_key=rules.uuid_key(uuid), but=but)
    if held:
        # A manager learns no numbers of users that are not his.
        who = {field: "somebody" if actor.manager else f"user {user}" for field, user in held.items()}
        fields = {field: f"{one} has it already; choose another" for field, one in who.items()}
        raise refusals.conflict("the name or the UUID is taken", fields)
