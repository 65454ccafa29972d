"""Events: what happened, when, to whom, and who did it (rows H8, T7, R4).

What always holds: the list of kinds is closed, each has its payload, and whatever changes state says so in
the transaction that does. A kind or a payload of another version still reads, as words.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum, auto
from typing import NamedTuple

import msgspec

from collector.domain import payloads
from collector.domain.access import Actor, Role
from collector.domain.payloads import Data


class Kind(StrEnum):
    """What can happen. Beside each: when it is written."""

    @staticmethod
    def _generate_next_value_(name: str, _start: int, _count: int, _last: list[str]) -> str:
        return name

    USER_CREATED = auto()  # he was made
    USER_CHANGED = auto()  # somebody changed his name, limits, times or switch
    USER_ASSIGNED = auto()  # somebody put him on other endpoints
    USER_REMOVED = auto()  # he was taken away
    USER_ACTIVE = auto()  # he is served from now on
    USER_SUSPENDED = auto()  # a limit is reached; H13's UserUsageFinished
    USER_EXPIRED = auto()  # his time is over; H13's UserExpire
    USER_FINISH = auto()  # nothing of what he bought is left
    USER_INACTIVE = auto()  # he was switched off, or waits for his start
    USER_RESET = auto()  # a period in which he used something has ended
    USER_FIRST_USED = auto()  # his first bytes, where his package does not begin with them
    USER_CONNECTED = auto()  # his first session began
    USER_DISCONNECTED = auto()  # his last session ended
    USER_PENALISED = auto()  # he had too many sessions and is cut for a time
    PENALTY_LIFTED = auto()  # that time is over
    PEER_CREATED = auto()  # he was put on a WireGuard endpoint: he has keys and addresses there
    PEER_CHANGED = auto()  # they were changed
    PEER_REMOVED = auto()  # he was taken off the endpoint
    USER_SNAPSHOT = auto()  # older events of him are about to be dropped
    USAGE_RECORDED = auto()  # never stored: read from the history, which is written when an hour closes
    USAGE_FORGOTTEN = auto()  # never stored: what the history does not hold any more
    USAGE_LATE = auto()  # bytes of an earlier period were reported in this one
    PACKAGE_STARTED = auto()  # his package began: by its first use or at its fixed start; H13's, T7's
    PACKAGE_EXPIRED = auto()  # his package has run out
    MANAGER_CREATED = auto()  # a manager was made
    MANAGER_CHANGED = auto()  # his name, parent or limits were changed
    MANAGER_REMOVED = auto()  # he was taken away
    MANAGER_RESET = auto()  # a period of his has ended
    MANAGER_NOTICE = auto()  # a limit of his is near or reached: the first phase
    MANAGER_PENALTY = auto()  # all below him are cut for a time: the second phase
    MANAGER_STOPPED = auto()  # those below him are not served any more: the third phase
    MANAGER_RESUMED = auto()  # they are served again
    NODE_CREATED = auto()  # a node was made
    NODE_CHANGED = auto()  # its fields were changed
    NODE_REMOVED = auto()  # it was taken away
    NODE_REVOKED = auto()  # its credential was voided
    NODE_ENROLLED = auto()  # an agent joined as this node
    NODE_STATUS = auto()  # its core or agent differs from what its last heartbeat said
    NODE_INCIDENT = auto()  # it told of an incident
    NODE_ITEMS_FAILED = auto()  # it cannot apply items, or for another reason than before
    NODE_ITEMS_APPLIED = auto()  # it can apply items that it had failed at
    NODE_RESET = auto()  # a period of its counters has ended
    ENROLMENT_MINTED = auto()  # a one-time token was made for it
    LEASES_FREED = auto()  # what it held of its users' limits is free for others
    ENDPOINT_CREATED = auto()  # an endpoint was made
    ENDPOINT_CHANGED = auto()  # its fields were changed
    ENDPOINT_REMOVED = auto()  # it was taken away
    ADMIN_CREATED = auto()  # an admin was made
    ADMIN_PASSWORD_CHANGED = auto()  # and got a new password, which voids his tokens
    ADMIN_REMOVED = auto()  # he was taken away
    QUARANTINE_HELD = auto()  # a row of a report was held back for the first time
    QUARANTINE_ACCEPTED = auto()  # somebody had it billed
    QUARANTINE_DISMISSED = auto()  # somebody made its totals the new base
    COLLECTOR_STARTED = auto()  # the collector began to serve
    RESTORED = auto()  # and its database may be an old copy: numbers jump
    RESTORE_PROVEN = auto()  # a node holds leases that its database does not know
    EVENTS_DROPPED = auto()  # events beyond their days were dropped


class Thing(StrEnum):
    """What an event can be about."""

    USER = "user"
    MANAGER = "manager"
    NODE = "node"
    ENDPOINT = "endpoint"
    ADMIN = "admin"
    QUARANTINE = "quarantine"
    COLLECTOR = "collector"


class Subject(NamedTuple):
    """A thing by its id; there is one collector, 0."""

    thing: Thing
    id: int

    def __str__(self) -> str:
        return f"{self.thing.value}:{self.id}"


#: Roles of those who do nothing on anybody's behalf.
ITSELF = (Role.SYSTEM.value, Role.NODE.value)

COLLECTOR = Subject(Thing.COLLECTOR, 0)

PAYLOADS: Mapping[Kind, type[Data]] = {
    Kind.USER_CREATED: payloads.UserCreated,
    Kind.USER_CHANGED: payloads.Changed,
    Kind.USER_ASSIGNED: payloads.Changed,
    Kind.USER_REMOVED: payloads.Named,
    Kind.USER_ACTIVE: payloads.Judged,
    Kind.USER_SUSPENDED: payloads.Judged,
    Kind.USER_EXPIRED: payloads.Judged,
    Kind.USER_FINISH: payloads.Judged,
    Kind.USER_INACTIVE: payloads.Judged,
    Kind.USER_RESET: payloads.Reset,
    Kind.USER_FIRST_USED: payloads.Course,
    Kind.USER_CONNECTED: payloads.Arrived,
    Kind.USER_DISCONNECTED: payloads.Left,
    Kind.USER_PENALISED: payloads.Penalty,
    Kind.PENALTY_LIFTED: payloads.Since,
    Kind.PEER_CREATED: payloads.PeerFacts,
    Kind.PEER_CHANGED: payloads.PeerChanged,
    Kind.PEER_REMOVED: payloads.PeerFacts,
    Kind.USER_SNAPSHOT: payloads.UserSnapshot,
    Kind.USAGE_RECORDED: payloads.Hour,
    Kind.USAGE_FORGOTTEN: payloads.Forgotten,
    Kind.USAGE_LATE: payloads.Late,
    Kind.PACKAGE_STARTED: payloads.Course,
    Kind.PACKAGE_EXPIRED: payloads.Course,
    Kind.MANAGER_CREATED: payloads.ManagerFacts,
    Kind.MANAGER_CHANGED: payloads.Changed,
    Kind.MANAGER_REMOVED: payloads.ManagerRemoved,
    Kind.MANAGER_RESET: payloads.Reset,
    Kind.MANAGER_NOTICE: payloads.ManagerLimit,
    Kind.MANAGER_PENALTY: payloads.ManagerLimit,
    Kind.MANAGER_STOPPED: payloads.ManagerLimit,
    Kind.MANAGER_RESUMED: payloads.ManagerResumed,
    Kind.NODE_CREATED: payloads.NodeFacts,
    Kind.NODE_CHANGED: payloads.Changed,
    Kind.NODE_REMOVED: payloads.Named,
    Kind.NODE_REVOKED: payloads.Named,
    Kind.NODE_ENROLLED: payloads.Enrolled,
    Kind.NODE_STATUS: payloads.NodeStatus,
    Kind.NODE_INCIDENT: payloads.IncidentSeen,
    Kind.NODE_ITEMS_FAILED: payloads.ItemsFailed,
    Kind.NODE_ITEMS_APPLIED: payloads.ItemsApplied,
    Kind.NODE_RESET: payloads.NodeReset,
    Kind.ENROLMENT_MINTED: payloads.Minted,
    Kind.LEASES_FREED: payloads.Freed,
    Kind.ENDPOINT_CREATED: payloads.EndpointFacts,
    Kind.ENDPOINT_CHANGED: payloads.Changed,
    Kind.ENDPOINT_REMOVED: payloads.EndpointFacts,
    Kind.ADMIN_CREATED: payloads.Named,
    Kind.ADMIN_PASSWORD_CHANGED: payloads.Named,
    Kind.ADMIN_REMOVED: payloads.Named,
    Kind.QUARANTINE_HELD: payloads.HeldRow,
    Kind.QUARANTINE_ACCEPTED: payloads.HeldRow,
    Kind.QUARANTINE_DISMISSED: payloads.HeldRow,
    Kind.COLLECTOR_STARTED: Data,
    Kind.RESTORED: payloads.Restored,
    Kind.RESTORE_PROVEN: payloads.RestoreProven,
    Kind.EVENTS_DROPPED: payloads.Dropped,
}


@dataclass(frozen=True, kw_only=True)
class Event:
    """One change of state, to be stored; the payload is the one of its kind."""

    at_ms: int
    actor: Actor
    kind: Kind
    subject: Subject
    data: Data

    def __post_init__(self) -> None:
        if type(self.data) is not PAYLOADS[self.kind]:
            raise TypeError(f"{self.kind} carries {PAYLOADS[self.kind].__name__}, not {self.data!r}")


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """An event as it is stored, in words: its kind may be one of another version.

    `number` counts events in the order of their commits; 0 where the event is a view of something else.
    """

    number: int
    at_ms: int
    actor: str
    kind: str
    subject: str
    data: Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which events are asked for; None is any.

    `from_ms` is the first moment and `to_ms` the one after the last. `people` leaves out what the collector
    and its nodes did by themselves.
    """

    subject: str | None = None
    actor: str | None = None
    kind: str | None = None
    from_ms: int | None = None
    to_ms: int | None = None
    people: bool = False


def payload(recorded: Recorded) -> Data | None:
    """What a stored event carries; None when this version does not know it."""
    try:
        return msgspec.convert(recorded.data, PAYLOADS[Kind(recorded.kind)])
    except (ValueError, msgspec.ValidationError):
        return None


def changes(before: Mapping[str, object], after: Mapping[str, object]) -> dict[str, payloads.Pair]:
    """The fields that differ."""
    return {
        name: payloads.Pair(before.get(name), value)
        for name, value in after.items()
        if before.get(name) != value
    }


def matches(one: Recorded, wanted: Wanted) -> bool:
    """Whether an event is asked for, its moment aside."""
    asked = ((wanted.subject, one.subject), (wanted.actor, one.actor), (wanted.kind, one.kind))
    by_itself = one.actor.partition(":")[0] in ITSELF
    return all(wish in {None, found} for wish, found in asked) and not (wanted.people and by_itself)
