"""What a collector that was restored from a backup has forgotten, and how it learns it (promise 2).

What always holds: every batch of leases has a serial under its ledger. The node keeps it with the leases and
says it in every report, so a serial above the collector's own proves that leases were forgotten. While a node
is asked what it holds, nobody who is or was placed there is given more of his limits anywhere, nor is anybody
who shares a manager's limit with him. Nothing that was given is voided, and nobody is cut.

Asked is the node that gives a proof, and with the first proof since a start all others, since they too may
hold what was forgotten. All are asked at a start after a gap, when there is no proof yet. A node that is
asked is lent nothing until it has answered: with reports that repeat the question, so with none that was
under way before, and that together tell of all whom it serves or ever served. Its word replaces what was
known, for a lease that it gave back since the backup would else be given again while others have been given
the same. What older ledgers of it had does not matter then: a node serves under one. It is not waited for any
longer once it was revoked, or `TERM_MS` after the question, which is renewed while it is open: by then it has
voided its leases itself.

What is not promised: that a limit holds
- after a backup was restored that is younger than the gap, so that no restore is suspected, until the first
  report of a node that was lent something since the backup: until then others may be lent the same;
- of bytes that a node has moved since the backup, where its disk is lost before it has answered, or where it
  stays away for longer than `TERM_MS`: nobody knows of them;
- for whoever was placed on a node since the backup, until that node has answered: the placing is forgotten,
  and with it that this node must be waited for;
- where an admin has changed limits since the backup: the old ones are back.
"""

from enum import Enum, auto
from typing import NamedTuple

from collector.domain.leases import Ceilings
from shared.messages import Lease
from shared.names import LEASE_TERM_S

#: A question that is older is put again: a node that hears it has been answered, so its leases live on.
RENEW_MS = 10 * 60_000
#: A node that was not answered for so long after a question gives up its leases before it asks for an answer.
TERM_MS = LEASE_TERM_S * 1000 + RENEW_MS


class Word(NamedTuple):
    """What the newest report of a ledger says: its serial, the question it answers (0: none), what it holds.

    `held` is of the users above `after`; `untold` is how many are still to come.
    """

    serial: int = 0
    learning: int = 0
    held: tuple[Lease, ...] = ()
    after: int = 0
    untold: int = 0

    @property
    def last(self) -> int | None:
        """The last user of whom this word tells; None where it tells of all above `after`."""
        return max((lease.user for lease in self.held), default=self.after) if self.untold else None


class Verdict(Enum):
    """What a word means."""

    KNOWN = auto()
    FORGOTTEN = auto()
    WAITING = auto()
    TOLD = auto()
    LEARNED = auto()


def heard(word: Word, serial: int, asked: int | None) -> Verdict:
    """What a node's newest word means to a collector that has this serial and has asked this, or nothing.

    `FORGOTTEN` is the proof, where nothing was asked. `TOLD` and `LEARNED` let what is held be believed.
    """
    if asked is None:
        return Verdict.FORGOTTEN if word.serial > serial else Verdict.KNOWN
    if word.learning != asked:
        return Verdict.WAITING
    return Verdict.TOLD if word.untold else Verdict.LEARNED


def differs(known: Ceilings | None, told: Ceilings | None) -> bool:
    """Whether what a node tells of a user is other than what was known; a node tells of every kind of limit.

    Kinds for which nothing was given do not matter where something was given for another.
    """
    if known is None or known == Ceilings():
        return told is not None
    return told is None or any(one is not None and one != two for one, two in zip(known, told, strict=True))


def stale(verdict: Verdict, asked_ms: int | None, now_ms: int) -> bool:
    """Whether a question that was asked at this time is still open and to be put again."""
    if asked_ms is None or verdict not in (Verdict.WAITING, Verdict.TOLD):
        return False
    return now_ms - asked_ms > RENEW_MS
