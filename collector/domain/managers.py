"""Managers, who resell in a tree of any depth: their package and what becomes of it (rows H4, H12).

What always holds: a manager is served exactly while his status is active; whoever is below him is served
only while he is. A standing that we gave (not started, expired, over the quota) is lifted by us as soon as
its cause is gone; an admin's switch is never touched. Bytes stay with those managers under whom they were
used, whoever is moved later.
"""

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import structs

from collector.domain import names, resets, standing, validity
from collector.domain.leases import Bytes, Ceilings
from collector.domain.payloads import Pair
from collector.domain.users import Status
from collector.domain.validity import ENDLESS, NewValidity, Validity, ValidityChanges
from shared.names import MAX_BYTES, MAX_ID, ManagerId

#: Limits of bytes that pass, of both directions together, up and down.
QUOTAS = ("quota_bytes", "up_limit_bytes", "down_limit_bytes")
#: Limits of what there may be at once: sessions, users online, users active in the present period.
COUNTS = ("max_sessions", "max_online", "max_active")
DEFAULT_NOTICE_PERCENT = 80
DEFAULT_NOTICES = 3
DEFAULT_PENALTY_S = 600
_MAX_NOTICES = 1_000
_MAX_PENALTY_S = 7 * 86_400
_HIGHEST_PERCENT = 100

_ACTIVE = (Status.ACTIVE, None)
_SUSPENDED = (Status.SUSPENDED, standing.OVER_QUOTA)
_WAITING = (Status.INACTIVE, standing.NOT_STARTED)
_EXPIRED = (Status.EXPIRED, None)
_OURS = frozenset({_ACTIVE, _SUSPENDED, _WAITING, _EXPIRED})


class Manager(msgspec.Struct, frozen=True, kw_only=True):
    """A manager with his counters, which are the billed bytes of everybody below him.

    `up_bytes` and `down_bytes` are of the period that began at `period_start_ms`, `life_…` of all time;
    `held` is what leases of users below may still take of his limits. `due_ms` is the next moment at which
    time alone changes something. What `notice_percent`, `notices` and `penalty_s` mean is said in `phases`.
    """

    id: ManagerId
    parent: ManagerId | None
    name: str
    status: Status
    reason: str | None
    quota_bytes: int | None = None
    up_limit_bytes: int | None = None
    down_limit_bytes: int | None = None
    max_sessions: int | None = None
    max_online: int | None = None
    max_active: int | None = None
    notice_percent: int = DEFAULT_NOTICE_PERCENT
    notices: int = DEFAULT_NOTICES
    penalty_s: int = DEFAULT_PENALTY_S
    validity: Validity = ENDLESS
    due_ms: int | None = None
    up_bytes: int = 0
    down_bytes: int = 0
    life_up_bytes: int = 0
    life_down_bytes: int = 0
    period_start_ms: int = 0
    held: Bytes = Bytes()
    created_ms: int
    first_used_ms: int | None = None

    @property
    def limits(self) -> Ceilings:
        """Limits of bytes."""
        return Ceilings(self.quota_bytes, self.up_limit_bytes, self.down_limit_bytes)

    @property
    def bounds(self) -> dict[str, int | None]:
        """All limits by their field: those that bind everybody below."""
        return {field: getattr(self, field) for field in (*QUOTAS, *COUNTS)}

    @property
    def used(self) -> Bytes:
        """What counts against the limits of bytes."""
        return Bytes(self.up_bytes + self.down_bytes, self.up_bytes, self.down_bytes)

    @property
    def pools(self) -> bool:
        """Whether those below share a limit of bytes."""
        return self.limits != Ceilings()

    @property
    def overdrawn(self) -> bool:
        """Whether leases below may take more than is left."""
        return any(
            limit is not None and used + held > limit
            for limit, used, held in zip(self.limits, self.used, self.held, strict=True)
        )

    @property
    def served(self) -> bool:
        """Whether those below may be served."""
        return self.status is Status.ACTIVE

    @property
    def standing(self) -> tuple[Status, str | None]:
        """His status and the reason for it."""
        return self.status, self.reason

    @property
    def switched_off(self) -> bool:
        """Whether an admin, or a manager above, has switched him off."""
        return self.standing == (Status.INACTIVE, None)

    @property
    def started_ms(self) -> int | None:
        """When his package began, or will: at a fixed moment or with the first bytes below him."""
        start_at_ms = self.validity.start_at_ms
        return self.first_used_ms if start_at_ms is None else start_at_ms

    @property
    def expires_ms(self) -> int | None:
        """When his package ends; None where no end is in sight."""
        return resets.expires_ms(self.started_ms, self.validity.duration_s)

    @property
    def next_reset_ms(self) -> int | None:
        """When his present period ends; None where none follows."""
        return resets.next_reset_ms(self.validity.schedule, self.started_ms, self.period_start_ms)


class NewManager(NewValidity, frozen=True, kw_only=True):
    """A manager to create, below another one or on top. A limit of null is bounded by those above."""

    name: str
    parent: ManagerId | None = None
    quota_bytes: int | None = None
    up_limit_bytes: int | None = None
    down_limit_bytes: int | None = None
    max_sessions: int | None = None
    max_online: int | None = None
    max_active: int | None = None
    notice_percent: int = DEFAULT_NOTICE_PERCENT
    notices: int = DEFAULT_NOTICES
    penalty_s: int = DEFAULT_PENALTY_S


class ManagerChanges(ValidityChanges, frozen=True, kw_only=True):
    """Fields of a manager to change; absent ones stay."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    parent: ManagerId | msgspec.UnsetType | None = msgspec.UNSET
    quota_bytes: int | msgspec.UnsetType | None = msgspec.UNSET
    up_limit_bytes: int | msgspec.UnsetType | None = msgspec.UNSET
    down_limit_bytes: int | msgspec.UnsetType | None = msgspec.UNSET
    max_sessions: int | msgspec.UnsetType | None = msgspec.UNSET
    max_online: int | msgspec.UnsetType | None = msgspec.UNSET
    max_active: int | msgspec.UnsetType | None = msgspec.UNSET
    notice_percent: int | msgspec.UnsetType = msgspec.UNSET
    notices: int | msgspec.UnsetType = msgspec.UNSET
    penalty_s: int | msgspec.UnsetType = msgspec.UNSET
    active: bool | msgspec.UnsetType = msgspec.UNSET


_PLAIN = ("name", "parent", *QUOTAS, *COUNTS, "notice_percent", "notices", "penalty_s")


def wrong(asked: NewManager | ManagerChanges, after: Validity) -> dict[str, str]:
    """What is wrong with what was asked for, by field; `after` is the validity that comes of it."""
    given = {field: value for field, value in _plain(asked).items() if value is not None}
    rules: dict[str, Callable[[Any], str | None]] = {
        "name": names.wrong_name,
        **dict.fromkeys(QUOTAS, names.wrong_limit),
        **dict.fromkeys(COUNTS, _wrong_count),
        "notice_percent": lambda percent: _outside(percent, 1, _HIGHEST_PERCENT),
        "notices": lambda count: _outside(count, 0, _MAX_NOTICES),
        "penalty_s": lambda seconds: _outside(seconds, 0, _MAX_PENALTY_S),
    }
    problems = {field: rules[field](value) for field, value in given.items() if field in rules}
    return names.collect(**problems, **validity.wrong(after))


def fresh(new: NewManager, now_ms: int) -> Manager:
    """A manager as he is made; his id is given by the store."""
    manager = Manager(
        id=ManagerId(0),
        status=Status.ACTIVE,
        reason=None,
        validity=validity.asked(new),
        created_ms=now_ms,
        **_plain(new),
    )
    return _dated(judged(_turned(manager, now_ms), now_ms), now_ms)


def advanced(manager: Manager, now_ms: int) -> Manager:
    """The manager at this moment: a new period begins with empty counters, a start or an end takes effect."""
    if manager.due_ms is None or now_ms < manager.due_ms:
        return manager
    return _dated(judged(_turned(manager, now_ms), now_ms), now_ms)


def charged(manager: Manager, up_bytes: int, down_bytes: int, at_ms: int) -> Manager:
    """The manager after more bytes below him, used at this moment, judged again as of then.

    Those of a period that has ended count in all only. A counter that is full stays full.
    """
    manager = advanced(manager, at_ms)
    if manager.first_used_ms is None:
        manager = _dated(_turned(structs.replace(manager, first_used_ms=at_ms), at_ms), at_ms)
    present = at_ms >= manager.period_start_ms
    more = structs.replace(
        manager,
        up_bytes=min(MAX_BYTES, manager.up_bytes + up_bytes * present),
        down_bytes=min(MAX_BYTES, manager.down_bytes + down_bytes * present),
        life_up_bytes=min(MAX_BYTES, manager.life_up_bytes + up_bytes),
        life_down_bytes=min(MAX_BYTES, manager.life_down_bytes + down_bytes),
    )
    return judged(more, max(at_ms, more.period_start_ms))


def changed(manager: Manager, changes: ManagerChanges, now_ms: int) -> Manager:
    """The manager after changes, judged again.

    Other periods reset nothing by themselves: what was used counts on until the next boundary.
    """
    before = advanced(manager, now_ms)
    times = validity.changed(before.validity, changes)
    after = structs.replace(before, **_plain(changes), validity=times)
    if (times.schedule, after.started_ms) != (before.validity.schedule, before.started_ms):
        start_ms = resets.period_start_ms(times.schedule, after.started_ms, now_ms)
        after = structs.replace(after, period_start_ms=start_ms)
    if changes.active is False:
        after = structs.replace(after, status=Status.INACTIVE, reason=None)
    elif changes.active is True and after.switched_off:
        after = structs.replace(after, status=Status.ACTIVE, reason=None)
    return _dated(judged(after, now_ms), now_ms)


def judged(manager: Manager, now_ms: int) -> Manager:
    """The manager with the standing that his times, counters and limits of bytes ask for."""
    if manager.standing not in _OURS:
        return manager
    status, reason = _verdict(manager, now_ms)
    if (status, reason) == manager.standing:
        return manager
    return structs.replace(manager, status=status, reason=reason)


def differences(before: Manager, after: Manager) -> dict[str, Pair]:
    """The fields that somebody changed, each before and after."""
    fields = {field: (getattr(before, field), getattr(after, field)) for field in _PLAIN}
    times, news = validity.fields(before.validity), validity.fields(after.validity)
    fields |= {field: (times[field], news[field]) for field in times}
    fields["active"] = (not before.switched_off, not after.switched_off)
    return {field: Pair(old, new) for field, (old, new) in fields.items() if old != new}


def marks(limits: Ceilings, notice_percent: int, used: Bytes) -> tuple[tuple[bool, bool], ...]:
    """Which limits of bytes are near, and which are reached: while this stays, bytes alone change nothing."""
    return tuple(
        (limit is not None and 100 * spent >= notice_percent * limit, limit is not None and spent >= limit)
        for limit, spent in zip(limits, used, strict=True)
    )


def marks_of(manager: Manager) -> tuple[tuple[bool, bool], ...]:
    """The same of a manager as he is."""
    return marks(manager.limits, manager.notice_percent, manager.used)


def differs(before: Manager, after: Manager) -> bool:
    """Whether there is something to tell or to do: another standing or period, or a limit that came near."""
    figures = ((one.standing, one.period_start_ms, marks_of(one)) for one in (before, after))
    return next(figures) != next(figures)


def _verdict(manager: Manager, now_ms: int) -> tuple[Status, str | None]:
    start_at_ms, expires_ms = manager.validity.start_at_ms, manager.expires_ms
    if start_at_ms is not None and now_ms < start_at_ms:
        return _WAITING
    if expires_ms is not None and expires_ms <= now_ms:
        return _EXPIRED
    return _SUSPENDED if any(reached for _, reached in marks_of(manager)) else _ACTIVE


def _turned(manager: Manager, now_ms: int) -> Manager:
    start_ms = resets.period_start_ms(manager.validity.schedule, manager.started_ms, now_ms)
    if start_ms <= manager.period_start_ms:
        return manager
    return structs.replace(manager, period_start_ms=start_ms, up_bytes=0, down_bytes=0)


def _dated(manager: Manager, now_ms: int) -> Manager:
    latest_ms = max(now_ms, manager.period_start_ms)
    next_reset_ms = resets.next_reset_ms(manager.validity.schedule, manager.started_ms, latest_ms)
    moments = (next_reset_ms, manager.validity.start_at_ms, manager.expires_ms)
    due_ms = min((one for one in moments if one is not None and one > now_ms), default=None)
    return manager if due_ms == manager.due_ms else structs.replace(manager, due_ms=due_ms)


def _plain(asked: NewManager | ManagerChanges) -> dict[str, Any]:
    """The fields that are taken as they are, those that were given."""
    given = {field: getattr(asked, field) for field in _PLAIN}
    return {field: value for field, value in given.items() if value is not msgspec.UNSET}


def _wrong_count(count: int) -> str | None:
    if 0 <= count <= MAX_ID:
        return None
    return f"use a whole number from 0 to {MAX_ID}, or null for no limit"


def _outside(number: int, low: int, high: int) -> str | None:
    return None if low <= number <= high else f"use a whole number from {low} to {high}"
