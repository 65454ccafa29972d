"""Users: created, changed, placed on endpoints, looked at (rows R2, H1, H7)."""

from collections.abc import Iterable

from collector.app import configs
from collector.domain import refusals
from collector.domain import users as rules
from collector.domain.access import Actor
from collector.domain.changes import Change
from collector.domain.events import Event
from collector.domain.users import NewUser, Status, UsageView, User, UserChanges
from collector.store import endpoints, events, users
from collector.store.session import Session
from shared.names import EndpointId, UserId


def create(session: Session, new: NewUser, uuid: str, actor: Actor, now_ms: int) -> Change[User]:
    """Make a user and place him on the endpoints asked for; their nodes are told."""
    if fields := rules.wrong(new):
        raise refusals.invalid(fields)
    _require_free(session, name=new.name, uuid=uuid)
    user = users.insert(session, rules.judged(_fresh(new, uuid, now_ms)), rules.uuid_key(uuid))
    _place(session, user.id, new.endpoints)
    _note(session, user, "USER_CREATED", actor, now_ms)
    return Change(user, configs.refresh(session, [user]))


def one(session: Session, user: UserId) -> User:
    """A user with his counters."""
    found = users.one(session, user)
    if found is None:
        raise refusals.not_found("user", user)
    return found


def page(session: Session, after: UserId, limit: int) -> list[User]:
    """Users in the order of their ids, those after the given one."""
    return users.page(session, after, limit)


def change(session: Session, user: UserId, changes: UserChanges, actor: Actor, now_ms: int) -> Change[User]:
    """Change a user; a quota that allows more brings him back."""
    before = one(session, user)
    if fields := rules.wrong_changes(changes):
        raise refusals.invalid(fields)
    after = rules.changed(before, changes)
    if after.name != before.name:
        _require_free(session, name=after.name, uuid=after.uuid, but=user)
    users.save(session, after)
    _note(session, after, "USER_CHANGED", actor, now_ms)
    if after.status is not before.status:
        note_status(session, after, actor, now_ms)
    return Change(after, configs.refresh(session, [after]))


def remove(session: Session, user: UserId, actor: Actor, now_ms: int) -> Change[None]:
    """Take a user away; bytes that nodes report later are still booked to him."""
    found = one(session, user)
    users.remove(session, user, now_ms)
    _note(session, found, "USER_REMOVED", actor, now_ms)
    return Change(None, configs.refresh(session, [found]))


def assign(
    session: Session, user: UserId, wanted: Iterable[EndpointId], actor: Actor, now_ms: int
) -> Change[User]:
    """Put a user on exactly these endpoints (R2: assign or reassign)."""
    found = one(session, user)
    _place(session, user, wanted)
    _note(session, found, "USER_ASSIGNED", actor, now_ms, endpoints=sorted(set(wanted)))
    return Change(found, configs.refresh(session, [found]))


def usage(session: Session, user: UserId) -> UsageView:
    """What a user has used, in all and by endpoint."""
    found = one(session, user)
    return UsageView(
        user=found.id,
        status=found.status,
        quota_bytes=found.quota_bytes,
        up=found.up_bytes,
        down=found.down_bytes,
        total=found.total_bytes,
        endpoints=users.usage_by_endpoint(session, user),
    )


def note_status(session: Session, user: User, actor: Actor, now_ms: int) -> None:
    """Record that a user's status changed, with the figures it was judged by."""
    kind = f"USER_{user.status.name}"
    figures = {"total_bytes": user.total_bytes, "quota_bytes": user.quota_bytes}
    _note(session, user, kind, actor, now_ms, reason=user.reason, **figures)


def _fresh(new: NewUser, uuid: str, now_ms: int) -> User:
    return User(
        id=UserId(0),
        uuid=uuid,
        name=new.name,
        status=Status.ACTIVE,
        reason=None,
        quota_bytes=new.quota_bytes,
        up_limit_bytes=new.up_limit_bytes,
        down_limit_bytes=new.down_limit_bytes,
        up_bytes=0,
        down_bytes=0,
        created_ms=now_ms,
    )


def _place(session: Session, user: UserId, wanted: Iterable[EndpointId]) -> None:
    missing = [one for one in set(wanted) if endpoints.one(session, one) is None]
    if missing:
        listed = ", ".join(str(number) for number in sorted(missing))
        raise refusals.invalid({"endpoints": f"there is no endpoint {listed}"})
    endpoints.assign(session, user, wanted)


def _require_free(session: Session, *, name: str, uuid: str, but: UserId | None = None) -> None:
    held = users.holder(session, name=name, uuid_key=rules.uuid_key(uuid), but=but)
    if held:
        fields = {field: f"user {user} has it already; choose another" for field, user in held.items()}
        raise refusals.conflict("the name or the UUID is taken", fields)


def _note(session: Session, user: User, kind: str, actor: Actor, now_ms: int, **data: object) -> None:
    subject = f"user:{user.id}"
    figures = {"name": user.name, "status": user.status.value, "quota_bytes": user.quota_bytes}
    event = Event(at_ms=now_ms, actor=str(actor), kind=kind, subject=subject, data={**figures, **data})
    events.append(session, event)
