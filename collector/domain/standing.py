"""What becomes of a user through bytes, through time and through an admin (rows H1, H2, H3, H7).

What always holds: a standing that we gave (not started, expired, over the quota,
stopped above) is lifted by us as soon as
its cause is gone; one that an admin or a penalty gave is never touched. A user who is not due is what he was:
time changes nothing before `due_ms`. A period ends once: a clock that is set back opens none again.
"""

import msgspec
from msgspec import structs

from collector.domain import resets, validity
from collector.domain import users as people
from collector.domain.lane import ENDLESS
from collector.domain.leases import ENDLESS as NO_LIMITS
from collector.domain.leases import Bytes, Ceilings
from collector.domain.users import NewUser, Status, User, UserChanges
from shared.names import MAX_BYTES, UserId

#: Reason of the suspension that a higher quota or a new period lifts.
OVER_QUOTA = "quota"
#: Reason of the suspension of everybody whom a manager above him cannot have served.
STOPPED_ABOVE = "manager"
#: Reason of being inactive that the start of the package lifts.
NOT_STARTED = "not started"
_ACTIVE = (Status.ACTIVE, None)
_SUSPENDED = (Status.SUSPENDED, OVER_QUOTA)
_STOPPED = (Status.SUSPENDED, STOPPED_ABOVE)
_WAITING = (Status.INACTIVE, NOT_STARTED)
_EXPIRED = (Status.EXPIRED, None)
_OURS = frozenset({_ACTIVE, _SUSPENDED, _STOPPED, _WAITING, _EXPIRED})


def fresh(new: NewUser, uuid: str, now_ms: int, *, stopped: bool = False, pooled: bool = False) -> User:
    """A user as he is made; his id is given by the store."""
    user = User(
        id=UserId(0),
        uuid=uuid,
        name=new.name,
        manager=new.manager,
        manager_stopped=stopped,
        pooled=pooled,
        status=Status.ACTIVE,
        reason=None,
        quota_bytes=new.quota_bytes,
        up_limit_bytes=new.up_limit_bytes,
        down_limit_bytes=new.down_limit_bytes,
        validity=validity.asked(new),
        max_concurrent=new.max_concurrent,
        allowed_devices=new.allowed_devices,
        up_kbps=new.up_kbps,
        down_kbps=new.down_kbps,
        up_bytes=0,
        down_bytes=0,
        created_ms=now_ms,
    )
    return _dated(judged(_turned(user, now_ms), now_ms), now_ms)


def advanced(user: User, now_ms: int) -> User:
    """The user at this moment: a new period begins with empty counters, a start or an end takes effect."""
    if user.due_ms is None or now_ms < user.due_ms:
        return user
    return _dated(judged(_turned(user, now_ms), now_ms), now_ms)


def charged(user: User, up_bytes: int, down_bytes: int, at_ms: int) -> User:
    """The user after more bytes, used at this moment, judged again as of then.

    Bytes beyond the quota are his too: they passed. Those of a period that has ended count in all only. A
    counter that is full stays full: one that could not be stored would undo the whole report, every time.
    """
    user = advanced(user, at_ms)
    if user.first_used_ms is None:
        user = _begun(user, at_ms)
    life_up = min(MAX_BYTES, user.life_up_bytes + up_bytes)
    life_down = min(MAX_BYTES, user.life_down_bytes + down_bytes)
    present = at_ms >= user.period_start_ms
    more = structs.replace(
        user,
        up_bytes=user.up_bytes + (life_up - user.life_up_bytes if present else 0),
        down_bytes=user.down_bytes + (life_down - user.life_down_bytes if present else 0),
        life_up_bytes=life_up,
        life_down_bytes=life_down,
        last_used_ms=max(at_ms, user.last_used_ms or at_ms),
    )
    return judged(more, max(at_ms, user.period_start_ms))


def room(user: User) -> int:
    """How many billed bytes he may move before a limit is near; by any way they are counted."""
    return left(user.limits, user.used, pooled=user.pooled)


def left(limits: Ceilings, used: Bytes, *, pooled: bool) -> int:
    """The same of limits and what counts against them; `pooled` has no end of his own, but leases."""
    if limits == NO_LIMITS:
        return ENDLESS - pooled
    lefts = (limit - gone for limit, gone in zip(limits, used, strict=True) if limit is not None)
    return max(0, min(lefts))


def changed(user: User, changes: UserChanges, now_ms: int) -> User:
    """The user after an admin's changes, judged again.

    Other periods reset nothing by themselves: what was used counts on until the next boundary.
    """
    user = advanced(user, now_ms)
    if changes.name is not msgspec.UNSET:
        user = structs.replace(user, name=changes.name)
    if changes.manager is not msgspec.UNSET:
        user = structs.replace(user, manager=changes.manager)
    user = _limited(user, people.changed_limits(changes))
    most, devices = people.changed_sessions(user, changes)
    user = structs.replace(user, max_concurrent=most, allowed_devices=devices)
    user = structs.replace(user, **people.changed_speeds(user, changes))
    user = _retimed(user, changes, now_ms)
    if changes.active is not msgspec.UNSET:
        user = _switched(user, on=changes.active)
    return _dated(judged(user, now_ms), now_ms)


def judged(user: User, now_ms: int) -> User:
    """The user with the standing that his times, counters and limits ask for."""
    before = user.standing
    if before not in _OURS:
        return user
    status, reason = _verdict(user, now_ms)
    return user if (status, reason) == before else structs.replace(user, status=status, reason=reason)


def held(user: User, now_ms: int, *, stopped: bool) -> User:
    """The user after those above him were stopped or may go on, judged again."""
    return judged(structs.replace(user, manager_stopped=stopped), now_ms)


def shared(user: User, *, pooled: bool) -> User:
    """The user after somebody above him got a limit of bytes, or lost it.

    Leases given without regard to such a limit are void, so it makes new terms.
    """
    return structs.replace(user, pooled=pooled, terms=user.terms + pooled)


def dearer(user: User) -> User:
    """The user after his bytes cost more somewhere: leases that count the old price are void."""
    return structs.replace(user, terms=user.terms + 1)


def over_quota(user: User) -> bool:
    """A limit is reached when nothing of it is left."""
    if user.limits == NO_LIMITS:
        return False
    return any(
        limit is not None and used >= limit for limit, used in zip(user.limits, user.used, strict=True)
    )


def _verdict(user: User, now_ms: int) -> tuple[Status, str | None]:
    start_at_ms, expires_ms = user.validity.start_at_ms, user.expires_ms
    if start_at_ms is not None and now_ms < start_at_ms:
        return _WAITING
    if expires_ms is not None and expires_ms <= now_ms:
        return _EXPIRED
    if over_quota(user):
        return _SUSPENDED
    return _STOPPED if user.manager_stopped else _ACTIVE


def _begun(user: User, now_ms: int) -> User:
    """The first use: periods and the end may be counted from here."""
    user = structs.replace(user, first_used_ms=now_ms)
    return _dated(_turned(user, now_ms), now_ms)


def _turned(user: User, now_ms: int) -> User:
    start_ms = resets.period_start_ms(user.validity.schedule, user.started_ms, now_ms)
    if start_ms <= user.period_start_ms:
        return user
    return structs.replace(user, period_start_ms=start_ms, up_bytes=0, down_bytes=0)


def _dated(user: User, now_ms: int) -> User:
    schedule, latest_ms = user.validity.schedule, max(now_ms, user.period_start_ms)
    next_reset_ms = resets.next_reset_ms(schedule, user.started_ms, latest_ms)
    moments = (next_reset_ms, user.validity.start_at_ms, user.expires_ms)
    due_ms = min((one for one in moments if one is not None and one > now_ms), default=None)
    return user if due_ms == user.due_ms else structs.replace(user, due_ms=due_ms)


def _retimed(user: User, changes: UserChanges, now_ms: int) -> User:
    after = structs.replace(user, validity=validity.changed(user.validity, changes))
    schedule = after.validity.schedule
    if (schedule, after.started_ms) == (user.validity.schedule, user.started_ms):
        return after
    start_ms = resets.period_start_ms(schedule, after.started_ms, now_ms)
    return structs.replace(after, period_start_ms=start_ms)


def _limited(user: User, limits: dict[str, int | None]) -> User:
    """New limits. Leases given under a higher limit must not outlive it, so a lower one makes new terms."""
    after = structs.replace(
        user,
        quota_bytes=limits.get("quota_bytes", user.quota_bytes),
        up_limit_bytes=limits.get("up_limit_bytes", user.up_limit_bytes),
        down_limit_bytes=limits.get("down_limit_bytes", user.down_limit_bytes),
    )
    tighter = any(
        now is not None and (before is None or now < before)
        for before, now in zip(user.limits, after.limits, strict=True)
    )
    return structs.replace(after, terms=user.terms + 1) if tighter else after


def _switched(user: User, *, on: bool) -> User:
    if not on:
        return structs.replace(user, status=Status.INACTIVE, reason=None)
    if user.status is Status.INACTIVE:
        return structs.replace(user, status=Status.ACTIVE, reason=None)
    return user
