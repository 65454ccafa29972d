"""What events carry: one struct for each family of kinds, stored as JSON (rows H8, T7, R4).

What always holds: no credential, no secret and no client address is in any of them. Fields are added with a
default and never renamed: what was stored years ago still reads.
"""

from typing import Any

import msgspec

from collector.domain.quarantine import Cause
from collector.domain.resets import Anchor, Mode
from collector.domain.users import Status, User


class Data(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all payloads, and the one of kinds whose subject says everything."""


class Named(Data, frozen=True):
    """The name of the subject, which may be gone when this is read."""

    name: str


class Pair(msgspec.Struct, frozen=True):
    """A field before and after."""

    before: Any
    after: Any


class Changed(Named, frozen=True):
    """The fields that changed, and only those."""

    changes: dict[str, Pair]


# --- users -------------------------------------------------------------------------------------------------


class UserFacts(Named, frozen=True, kw_only=True):
    """A user without his credentials, his places and his counters."""

    manager: int | None
    status: Status
    reason: str | None
    quota_bytes: int | None
    up_limit_bytes: int | None
    down_limit_bytes: int | None
    reset: Mode
    reset_anchor: Anchor
    reset_day: int | None
    reset_month: int | None
    zone: str
    duration_s: int | None
    start_at_ms: int | None
    max_concurrent: int | None
    allowed_devices: tuple[str, ...]
    period_start_ms: int
    created_ms: int
    first_used_ms: int | None
    up_kbps: int | None = None
    down_kbps: int | None = None


class UserCreated(UserFacts, frozen=True):
    """A new user and the endpoints he is placed on."""

    endpoints: list[int]


class UserSnapshot(UserFacts, frozen=True):
    """A user as he is, so that nothing before is needed.

    `base_…` is what he had used in all when his period began. The other figures are for people.
    """

    removed: bool
    up_bytes: int
    down_bytes: int
    life_up_bytes: int
    life_down_bytes: int
    base_up_bytes: int
    base_down_bytes: int


class Judged(Named, frozen=True):
    """A new status, and the figures it was judged by."""

    status: Status
    reason: str | None
    total_bytes: int
    up_bytes: int
    down_bytes: int
    quota_bytes: int | None
    up_limit_bytes: int | None
    down_limit_bytes: int | None


class Reset(Named, frozen=True):
    """What was used in a period that has ended, and all that was used before the next one: its base."""

    up_bytes: int
    down_bytes: int
    base_up_bytes: int
    base_down_bytes: int
    period_start_ms: int
    next_start_ms: int


class Late(Named, frozen=True):
    """Bytes that count in a period that had ended when they were reported, and the present one's new base."""

    up_bytes: int
    down_bytes: int
    base_up_bytes: int
    base_down_bytes: int


class Course(Named, frozen=True):
    """When a package began and ends."""

    started_ms: int | None
    first_used_ms: int | None
    expires_ms: int | None


class Hour(Data, frozen=True):
    """What was moved in one hour, counted since the epoch; `open` while more may come."""

    hour: int
    up_bytes: int
    down_bytes: int
    billed_up_bytes: int
    billed_down_bytes: int
    open: bool = False


class Forgotten(Data, frozen=True):
    """What was billed in hours of which nothing is known any more, or was before hours were told apart."""

    billed_up_bytes: int
    billed_down_bytes: int


class Since(Data, frozen=True):
    """From when on it is so; it is written down a little later."""

    since_ms: int


class Arrived(Since, frozen=True):
    """Where somebody connected, and in which country he is; never his address."""

    endpoint: int
    country: str | None


class Left(Since, frozen=True):
    """How long somebody was connected."""

    online_s: int


class Penalty(Since, frozen=True):
    """What somebody did wrong, his sessions and how many he may have, and for how long he is cut."""

    reason: str
    sessions: int
    max_concurrent: int | None
    for_s: float


class PeerFacts(Named, frozen=True):
    """A user of a WireGuard endpoint, without what is secret.

    `tunnel` are his addresses inside the tunnel, which name no place; `fixed` those somebody asked for.
    """

    endpoint: int
    public_key: str
    tunnel: list[str]
    fixed: list[str]


class PeerChanged(Changed, frozen=True):
    """What changed of it; of a preshared key it is said only that there is another one."""

    endpoint: int
    preshared_key_renewed: bool = False


# --- managers ----------------------------------------------------------------------------------------------


class ManagerFacts(Named, frozen=True):
    """A manager, whose he is, and his limits by their names."""

    parent: int | None
    limits: dict[str, Any]


class ManagerRemoved(Named, frozen=True):
    """To whom those directly below him went, and how many they were."""

    move_to: int | None
    managers: int
    users: int


class ManagerLimit(Named, frozen=True):
    """Which limit of a manager is near, reached or passed, and until when everybody below is cut.

    `notice` counts the notices before a penalty, `of` is how many there are.
    """

    limit: str
    used: int
    allowed: int | None
    until_ms: int | None = None
    notice: int | None = None
    of: int | None = None


class ManagerResumed(Named, frozen=True):
    """What had stopped those below him."""

    reason: str


# --- nodes, endpoints, the collector -----------------------------------------------------------------------


class NodeFacts(Named, frozen=True):
    """A node as it was made."""

    region: str
    link_mbps: int
    reset: Mode
    reset_day: int | None
    reset_month: int | None
    zone: str


class NodeReset(Named, frozen=True):
    """What was moved over a node in a period that has ended, raw and billed; None where that is unknown."""

    up_bytes: int | None
    down_bytes: int | None
    billed_up_bytes: int | None
    billed_down_bytes: int | None
    period_start_ms: int
    next_start_ms: int


class Minted(Named, frozen=True):
    """Until when the one-time token counts."""

    expires_ms: int


class Enrolled(Named, frozen=True):
    """What the agent said of itself."""

    agent_version: str


class NodeStatus(Data, frozen=True):
    """How a node says it is."""

    core_running: bool
    core_version: str | None
    agent_version: str
    limitations: list[str]


class IncidentSeen(Data, frozen=True):
    """An incident by its number on the node; its words are among the incidents."""

    number: int
    what: str


class ItemsFailed(Data, frozen=True):
    """Items of the desired state that a node could not apply, with its reasons."""

    generation: int
    failures: dict[str, str]


class ItemsApplied(Data, frozen=True):
    """Items that a node had failed at and can apply now, or need not any more."""

    generation: int
    keys: list[str]


class Freed(Data, frozen=True):
    """How many leases were taken from a node that is lost."""

    leases: int


class EndpointFacts(Named, frozen=True):
    """An endpoint and its node, without its keys."""

    node: int
    protocol: str
    listen: str
    port: int
    factor_permille: int
    host: str | None = None
    transport: dict[str, Any] | None = None
    security: dict[str, Any] | None = None
    options: dict[str, Any] | None = None


class HeldRow(Data, frozen=True):
    """A row of a report that was held back; totals are those offered last."""

    node: int
    user: int | None
    endpoint: int | None
    up: int | None
    down: int | None
    cause: Cause


class Restored(Data, frozen=True):
    """When the database was last written, and the lowest number given out from now on."""

    last_written_ms: int
    floor: int


class RestoreProven(Data, frozen=True):
    """A node holds leases that this database does not know: it is asked for them, or every node is."""

    node: int
    serial: int
    known: int
    everywhere: bool


class Dropped(Data, frozen=True):
    """How many events were dropped, and the number of the last one."""

    count: int
    through: int


def of_user(user: User) -> dict[str, Any]:
    """The fields of `UserFacts`."""
    valid, schedule = user.validity, user.validity.schedule
    return {
        "name": user.name,
        "manager": user.manager,
        "status": user.status,
        "reason": user.reason,
        "quota_bytes": user.quota_bytes,
        "up_limit_bytes": user.up_limit_bytes,
        "down_limit_bytes": user.down_limit_bytes,
        "reset": schedule.mode,
        "reset_anchor": schedule.anchor,
        "reset_day": schedule.day,
        "reset_month": schedule.month,
        "zone": schedule.zone,
        "duration_s": valid.duration_s,
        "start_at_ms": valid.start_at_ms,
        "max_concurrent": user.max_concurrent,
        "allowed_devices": user.allowed_devices,
        "period_start_ms": user.period_start_ms,
        "created_ms": user.created_ms,
        "first_used_ms": user.first_used_ms,
        "up_kbps": user.up_kbps,
        "down_kbps": user.down_kbps,
    }
