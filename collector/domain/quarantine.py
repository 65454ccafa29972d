"""Rows of reports that were held back instead of billed, until an admin decides (design: Metering)."""

from dataclasses import dataclass
from enum import Enum

from shared.names import NodeId

#: What is kept of a row that could not even be read.
MAX_CONTENT = 200


class Cause(Enum):
    """Why a row is held. Only one that was too fast can still be right, so only it waits for a decision."""

    UNREADABLE = "unreadable"
    ABSURD = "absurd"
    UNKNOWN = "unknown"
    TOO_FAST = "too-fast"


class Decision(Enum):
    """Bill the held totals, or take them as a new base without billing."""

    ACCEPTED = "accepted"
    DISMISSED = "dismissed"


@dataclass(frozen=True, kw_only=True)
class Held:
    """A held row with the latest totals offered; `user`, `endpoint` are None when it could not be read."""

    id: int
    node: NodeId
    ledger: str
    user: int | None
    endpoint: int | None
    up: int | None
    down: int | None
    content: str
    cause: Cause
    reason: str
    first_ms: int
    last_ms: int
    seen_count: int
    decision: Decision | None
