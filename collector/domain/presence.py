"""What becomes of a user as he comes and goes: told once each, to be written down as events (row H8)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from collector.domain.access import SYSTEM, Actor
from shared.names import UserId


class Turn(Enum):
    """The kinds; their values are those of the events."""

    CONNECTED = "USER_CONNECTED"
    DISCONNECTED = "USER_DISCONNECTED"
    PENALISED = "USER_PENALISED"
    LIFTED = "PENALTY_LIFTED"


@dataclass(frozen=True, kw_only=True)
class News:
    """A turn, its monotonic second, its figures, and who made it."""

    turn: Turn
    user: UserId
    at_s: float
    data: Mapping[str, object] = field(default_factory=dict)
    actor: Actor = SYSTEM

    def at_ms(self, now_ms: int, now_s: float) -> int:
        """Its moment in ms since the epoch, given the present one on both clocks."""
        return now_ms - round(1000 * (now_s - self.at_s))


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How many of some users are online, and from how many addresses: each user's are counted for himself."""

    online: int
    sessions: int
