"""Users: what is known of them and what admins may ask for (rows H1, H2, H7).

What always holds: a user is served exactly while his status is active. What changes it is in `standing`.
"""

from dataclasses import dataclass
from enum import Enum

import msgspec

from collector.domain import names, resets, sessions, validity
from collector.domain.leases import Bytes, Ceilings
from collector.domain.validity import ENDLESS, NewValidity, Validity, ValidityChanges
from collector.domain.wireguard import Wish
from shared.names import EndpointId, ManagerId, UserId


class Status(Enum):
    """H1: inactive is an admin's switch, or waits for the start; suspended is ours, with a reason."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    EXPIRED = "expired"
    FINISH = "finish"
    INACTIVE = "inactive"


#: Below the lowest no connection is of any use; above the highest no node's link is.
MIN_KBPS, MAX_KBPS = 8, 100_000_000
_LIMITS = ("quota_bytes", "up_limit_bytes", "down_limit_bytes")


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A user with his counters, which are payload from his side.

    `up_bytes` and `down_bytes` are of the period that began at `period_start_ms`, `life_…` of all time.
    `due_ms` is the next moment at which time alone changes something of him; `manager_stopped` tells whether
    somebody above him may have nobody served, `pooled` whether somebody has a limit of bytes. `up_kbps` and
    `down_kbps` are the highest speed of each of his accounts, in kbit/s; None is no limit. A struct, since
    one is made anew for every row that is thought about, several times faster than a dataclass.
    """

    id: UserId
    uuid: str
    name: str
    manager: ManagerId | None = None
    manager_stopped: bool = False
    pooled: bool = False
    status: Status
    reason: str | None
    quota_bytes: int | None
    up_limit_bytes: int | None = None
    down_limit_bytes: int | None = None
    terms: int = 1
    validity: Validity = ENDLESS
    due_ms: int | None = None
    max_concurrent: int | None = None
    allowed_devices: tuple[str, ...] = ()
    up_kbps: int | None = None
    down_kbps: int | None = None
    first_connected_ms: int | None = None
    last_connected_ms: int | None = None
    up_bytes: int
    down_bytes: int
    life_up_bytes: int = 0
    life_down_bytes: int = 0
    period_start_ms: int = 0
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
        return self.pooled or self.limits != Ceilings()

    @property
    def used(self) -> Bytes:
        """What counts against them."""
        return Bytes(self.total_bytes, self.up_bytes, self.down_bytes)

    @property
    def counted_from(self) -> tuple[int, int | None, int, int]:
        """When his present period and his first began, and what he had used in all before the present one."""
        base_up, base_down = self.life_up_bytes - self.up_bytes, self.life_down_bytes - self.down_bytes
        return self.period_start_ms, self.first_used_ms, base_up, base_down

    @property
    def served(self) -> bool:
        """Whether nodes may serve him."""
        return self.status is Status.ACTIVE

    @property
    def standing(self) -> tuple[Status, str | None]:
        """His status and the reason for it."""
        return self.status, self.reason

    @property
    def started_ms(self) -> int | None:
        """When his package began, or will: at a fixed moment or with the first use."""
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


class NewUser(NewValidity, frozen=True, kw_only=True):
    """A user to create; without a uuid one is made.

    `wireguard` says of those of his endpoints that are WireGuard's which key or addresses he has there.
    """

    name: str
    quota_bytes: int | None = None
    up_limit_bytes: int | None = None
    down_limit_bytes: int | None = None
    max_concurrent: int | None = None
    allowed_devices: tuple[str, ...] = ()
    up_kbps: int | None = None
    down_kbps: int | None = None
    uuid: str | None = None
    manager: ManagerId | None = None
    endpoints: tuple[EndpointId, ...] = ()
    wireguard: dict[EndpointId, Wish] = msgspec.field(default_factory=dict)


class UserChanges(ValidityChanges, frozen=True, kw_only=True):
    """Fields of a user to change; absent ones stay."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    quota_bytes: int | msgspec.UnsetType | None = msgspec.UNSET
    up_limit_bytes: int | msgspec.UnsetType | None = msgspec.UNSET
    down_limit_bytes: int | msgspec.UnsetType | None = msgspec.UNSET
    manager: ManagerId | msgspec.UnsetType | None = msgspec.UNSET
    max_concurrent: int | msgspec.UnsetType | None = msgspec.UNSET
    allowed_devices: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    up_kbps: int | msgspec.UnsetType | None = msgspec.UNSET
    down_kbps: int | msgspec.UnsetType | None = msgspec.UNSET
    active: bool | msgspec.UnsetType = msgspec.UNSET


@dataclass(frozen=True)
class EndpointUsage:
    """What a user moved over one endpoint, in bytes of payload."""

    endpoint: EndpointId
    up: int
    down: int


@dataclass(frozen=True, kw_only=True)
class UsageView:
    """What a user has used, as the API shows it: `up`, `down` and `total` since his present period began.

    What is said by endpoint is raw and of all time.
    """

    user: UserId
    status: Status
    quota_bytes: int | None
    up: int
    down: int
    total: int
    life_up: int
    life_down: int
    period_start_ms: int
    next_reset_ms: int | None
    started_ms: int | None
    expires_ms: int | None
    endpoints: list[EndpointUsage]


def wrong(new: NewUser) -> dict[str, str]:
    """What is wrong with a new user, by field."""
    return names.collect(
        name=names.wrong_name(new.name),
        quota_bytes=names.wrong_limit(new.quota_bytes),
        up_limit_bytes=names.wrong_limit(new.up_limit_bytes),
        down_limit_bytes=names.wrong_limit(new.down_limit_bytes),
        uuid=_wrong_uuid(new.uuid),
        up_kbps=_wrong_speed(new.up_kbps),
        down_kbps=_wrong_speed(new.down_kbps),
        **sessions.wrong(new.max_concurrent, new.allowed_devices),
        **validity.wrong(validity.asked(new)),
    )


def wrong_changes(user: User, changes: UserChanges) -> dict[str, str]:
    """What is wrong with changes to a user, by field."""
    name = None if changes.name is msgspec.UNSET else names.wrong_name(changes.name)
    limits = {field: names.wrong_limit(limit) for field, limit in changed_limits(changes).items()}
    after = validity.changed(user.validity, changes)
    times = {} if after == user.validity else validity.wrong(after)
    speeds = {field: _wrong_speed(speed) for field, speed in changed_speeds(user, changes).items()}
    of_sessions = sessions.wrong(*changed_sessions(user, changes))
    return names.collect(name=name, **limits, **times, **speeds, **of_sessions)


def changed_limits(changes: UserChanges) -> dict[str, int | None]:
    """The limits that changes name, by field."""
    asked = {field: getattr(changes, field) for field in _LIMITS}
    return {field: limit for field, limit in asked.items() if limit is not msgspec.UNSET}


def changed_speeds(user: User, changes: UserChanges) -> dict[str, int | None]:
    """How fast he may be after changes, by field."""
    up, down = changes.up_kbps, changes.down_kbps
    return {
        "up_kbps": user.up_kbps if isinstance(up, msgspec.UnsetType) else up,
        "down_kbps": user.down_kbps if isinstance(down, msgspec.UnsetType) else down,
    }


def changed_sessions(user: User, changes: UserChanges) -> tuple[int | None, tuple[str, ...]]:
    """How many sessions and which devices he may have after changes."""
    most, devices = changes.max_concurrent, changes.allowed_devices
    return (
        user.max_concurrent if isinstance(most, msgspec.UnsetType) else most,
        user.allowed_devices if isinstance(devices, msgspec.UnsetType) else devices,
    )


def _wrong_speed(kbps: int | None) -> str | None:
    if kbps is None or MIN_KBPS <= kbps <= MAX_KBPS:
        return None
    return f"use kbit/s from {MIN_KBPS} to {MAX_KBPS}, or null for no limit"


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
