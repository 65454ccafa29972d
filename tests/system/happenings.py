"""What can happen in a world of faults, and how a world ends."""

from dataclasses import dataclass
from enum import Enum
from typing import Literal

#: Everything that a schedule can meet, by the name it is counted under.
KINDS = frozenset(
    {
        *("traffic", "booking", "lease given back"),
        *("report", "report lost", "answer lost", "report late", "report repeated"),
        *("report repeated out of order", "everything replayed"),
        *("collector killed", "collector killed before its commit"),
        *("collector killed between commit and answer", "collector restored", "clock jumped"),
        *("agent killed", "reading not booked", "agent restarted", "core adopted", "core not adopted"),
        *("reading failed", "reading of a dead core", "core killed", "core restarted", "core did not start"),
        *("agent's disk lost", "agent restored", "agent's ledger changed back"),
    }
)


class Fate(Enum):
    """What becomes of a report that an agent sends."""

    ARRIVES = "report"
    LOST = "report lost"
    ANSWER_LOST = "answer lost"
    DIES_BEFORE = "collector killed before its commit"
    DIES_AFTER = "collector killed between commit and answer"


#: When a collector dies while it books a report.
Moment = Literal["before the commit", "after the commit"]
MOMENTS: dict[Fate, Moment] = {
    Fate.DIES_BEFORE: "before the commit",
    Fate.DIES_AFTER: "after the commit",
}


@dataclass(frozen=True, kw_only=True)
class Settled:
    """How a world ended: bytes over all users, both ways."""

    shown: int
    billed: int
    lost: int
    doubled: int
    forgotten: int
