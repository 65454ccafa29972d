"""Users: who may be served, and what makes that change (rows H1, H7).

What always holds: a user is served exactly while his status is active. Reaching the quota suspends him with
the reason `quota`, and only that suspension is lifted by itself, when the quota allows more again.
"""

import dataclasses
from dataclasses import dataclass
from enum import Enum

import msgspec

from collector.domain import names
from collector.domain.leases import Bytes, Ceilings
from shared.messages import Body
from shared.names import MAX_BYTES, EndpointId, UserId


class Status(Enum):
    """H1: inactive is an admin's switch; suspended is ours, with a reason."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    EXPIRED = "expired"
    FINISH = "finish"
    INACTIVE = "inactive"


_LIMITS = ("quota_bytes", "up_limit_bytes", "down_limit_bytes")
#: Reason of the suspension that a higher quota lifts.
OVER_QUOTA = "quota"


@dataclass(frozen=True, kw_only=True)
class User:
    """A user with his counters; `up_bytes` and `down_bytes` are payload, from his side."""

    id: UserId
    uuid: str
    name: str
    status: Status
    reason: str | None
    quota_bytes: int | None
    up_limit_bytes: int | None = None
    down_limit_bytes: int | None = None
    terms: int = 1
    up_bytes: int
    down_bytes: int
    created_ms: int
    first_used_ms: int | None = None
    last_used_ms: int | None = None

    @property
    def total_bytes(self) -> int:
        """What counts against the quota."""
        return self.up_bytes + self.down_bytes

    @property
    def limits(self) -> Ceilings:
        """His limits: of both directions together, of what he sends, of what he receives."""
        return Ceilings(self.quota_bytes, self.up_limit_bytes, self.down_limit_bytes)

    @property
    def limited(self) -> bool:
        """Whether nodes may serve him under a lease only."""
        return self.limits != Ceilings()

    @property
    def used(self) -> Bytes:
        """What counts against them."""
        return Bytes(self.total_bytes, self.up_bytes, self.down_bytes)

    @property
    def served(self) -> bool:
        """Whether nodes may serve him."""
        return self.status is Status.ACTIVE


class NewUser(Body, frozen=True):
    """A user to create; without a uuid one is made."""

    name: str
    quota_bytes: int | None = None
    up_limit_bytes: int | None = None
    down_limit_bytes: int | None = None
    uuid: str | None = None
    endpoints: tuple[EndpointId, ...] = ()


class UserChanges(Body, frozen=True):
    """Fields of a user to change; absent ones stay."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    quota_bytes: int | msgspec.UnsetType | None = msgspec.UNSET
    up_limit_bytes: int | msgspec.UnsetType | None = msgspec.UNSET
    down_limit_bytes: int | msgspec.UnsetType | None = msgspec.UNSET
    active: bool | msgspec.UnsetType = msgspec.UNSET


@dataclass(frozen=True)
class EndpointUsage:
    """What a user moved over one endpoint, in bytes of payload."""

    endpoint: EndpointId
    up: int
    down: int


@dataclass(frozen=True, kw_only=True)
class UsageView:
    """What a user has used, as the API shows it."""

    user: UserId
    status: Status
    quota_bytes: int | None
    up: int
    down: int
    total: int
    endpoints: list[EndpointUsage]


def wrong(new: NewUser) -> dict[str, str]:
    """What is wrong with a new user, by field."""
    return names.collect(
        name=names.wrong_name(new.name),
        quota_bytes=names.wrong_limit(new.quota_bytes),
        up_limit_bytes=names.wrong_limit(new.up_limit_bytes),
        down_limit_bytes=names.wrong_limit(new.down_limit_bytes),
        uuid=_wrong_uuid(new.uuid),
    )


def wrong_changes(changes: UserChanges) -> dict[str, str]:
    """What is wrong with changes to a user, by field."""
    name = None if changes.name is msgspec.UNSET else names.wrong_name(changes.name)
    limits = {field: names.wrong_limit(limit) for field, limit in _changed_limits(changes).items()}
    return names.collect(name=name, **limits)


def changed(user: User, changes: UserChanges) -> User:
    """The user after an admin's changes, judged again."""
    if changes.name is not msgspec.UNSET:
        user = dataclasses.replace(user, name=changes.name)
    user = _limited(user, _changed_limits(changes))
    if changes.active is not msgspec.UNSET:
        user = _switched(user, on=changes.active)
    return judged(user)


def judged(user: User) -> User:
    """The user with the status that his counters and quota ask for."""
    if user.status is Status.ACTIVE and over_quota(user):
        return dataclasses.replace(user, status=Status.SUSPENDED, reason=OVER_QUOTA)
    if user.status is Status.SUSPENDED and user.reason == OVER_QUOTA and not over_quota(user):
        return dataclasses.replace(user, status=Status.ACTIVE, reason=None)
    return user


def charged(user: User, up_bytes: int, down_bytes: int, now_ms: int) -> User:
    """The user after more bytes, judged again. Bytes beyond the quota are his too: they passed.

    A counter that is full stays full: one that could not be stored would undo the whole report, every time.
    """
    more = dataclasses.replace(
        user,
        up_bytes=min(MAX_BYTES, user.up_bytes + up_bytes),
        down_bytes=min(MAX_BYTES, user.down_bytes + down_bytes),
        first_used_ms=now_ms if user.first_used_ms is None else user.first_used_ms,
        last_used_ms=now_ms,
    )
    return judged(more)


def over_quota(user: User) -> bool:
    """A limit is reached when nothing of it is left."""
    return any(
        limit is not None and used >= limit for limit, used in zip(user.limits, user.used, strict=True)
    )


def _changed_limits(changes: UserChanges) -> dict[str, int | None]:
    asked = {field: getattr(changes, field) for field in _LIMITS}
    return {field: limit for field, limit in asked.items() if limit is not msgspec.UNSET}


def _limited(user: User, limits: dict[str, int | None]) -> User:
    """New limits. Leases given under a higher limit must not outlive it, so a lower one makes new terms."""
    after = dataclasses.replace(
        user,
        quota_bytes=limits.get("quota_bytes", user.quota_bytes),
        up_limit_bytes=limits.get("up_limit_bytes", user.up_limit_bytes),
        down_limit_bytes=limits.get("down_limit_bytes", user.down_limit_bytes),
    )
    tighter = any(
        now is not None and (before is None or now < before)
        for before, now in zip(user.limits, after.limits, strict=True)
    )
    return dataclasses.replace(after, terms=user.terms + 1) if tighter else after


def _switched(user: User, *, on: bool) -> User:
    if not on:
        return dataclasses.replace(user, status=Status.INACTIVE, reason=None)
    if user.status is Status.INACTIVE:
        return dataclasses.replace(user, status=Status.ACTIVE, reason=None)
    return user


def _wrong_uuid(text: str | None) -> str | None:
    if text is None or _is_uuid(text):
        return None
    return "use a UUID in its 36-character lower-case form, or leave it out to have one made"


def _is_uuid(text: str) -> bool:
    parts = text.split("-")
    hexadecimal = all(character in "0123456789abcdef-" for character in text)
    return hexadecimal and [len(part) for part in parts] == [8, 4, 4, 4, 12]


def uuid_key(uuid: str) -> str:
    """What VLESS compares of a UUID: all but its third group, which Xray reads as a route since v25.8.29."""
    groups = uuid.split("-")
    return "-".join([*groups[:2], "0000", *groups[3:]])
