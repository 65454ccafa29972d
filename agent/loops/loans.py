"""What the collector has lent this node: who may be served under it, what is asked for and given back.

What always holds: a lease is in the ledger before it is served under, and lowered there before the collector
hears of it; what a report said counts as said only once it was answered. Whoever is asked for without a lease
is given back as far as he was served, since an answer that was lost may have lent him more. A collector that
asks what is held here, since it may have forgotten, is told of everybody who was ever served, in as many
reports as it takes.
"""

import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice

from agent.core import counting, leases
from agent.core.counting import Count, Meter
from agent.core.leases import Moved
from agent.core.moves import Moves
from agent.core.plan import Holding
from agent.ledger import Ledger
from shared.messages import Account, Lease, ReportAnswer
from shared.names import MAX_REPORT_ROWS, UserId

#: Seconds before a user for whom nothing was free is asked for again.
ASK_AGAIN_S = 1.0


def boot_s() -> float:
    """Seconds since boot, sleep included: no clock that somebody sets moves it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, kw_only=True)
class Words:
    """What a report says of leases; `overdue` when one must be answered whatever it says.

    `learning` is the question that is answered by `held`, of users above `held_after`; of `untold` more it is
    not answered yet.
    """

    returned: tuple[Lease, ...]
    unleased: tuple[UserId, ...]
    overdue: bool = False
    learning: int = 0
    held: tuple[Lease, ...] = ()
    held_after: int = 0
    untold: int = 0

    @property
    def any(self) -> bool:
        """Whether there is anything to say."""
        return bool(self.returned or self.unleased or self.overdue)


@dataclass(kw_only=True)
class Loans:
    """The leases of one node, by user."""

    ledger: Ledger
    terms: dict[UserId, int] = field(default_factory=dict)
    #: What each user has moved in all; ahead of the ledger while it cannot be written.
    moved: Moves = field(default_factory=Moves)
    #: Lowered leases that no answered report has told yet.
    returning: dict[UserId, Lease] = field(default_factory=dict)
    #: Limited users who may not be served now, with the second they may be asked for again.
    barred: dict[UserId, float] = field(default_factory=dict)
    fenced: bool = False
    #: A report must go whatever it says: the collector may have a question.
    due: bool = False
    #: The collector's question what is held here, 0 for none; of whom it has not been told yet, by their ids,
    #: and the last of whom it has.
    learning: int = 0
    untold: list[UserId] = field(default_factory=list)
    told: int = 0

    def __post_init__(self) -> None:
        """Sum up what the ledger knows."""
        self.moved.grow(counting.rows(self.ledger.totals), math.inf)
        # What was lent to the idle before this agent began goes back like any other.
        self.moved.begin(self.ledger.leases, time.monotonic())

    def serves(self, account: Account) -> bool:
        """Whether this account may be served now."""
        if self.fenced and account.terms is not None:
            return False
        return leases.serves(account, self.ledger.leases, self.moved)

    def expect(self, held: Holding) -> None:
        """Learn who is limited; what is held for anybody else, or under other terms, goes back."""
        accounts = (item.body for item in held.items.values() if isinstance(item.body, Account))
        self.terms = {one.user: one.terms for one in accounts if one.terms is not None}
        void = [one for one in self.ledger.leases.values() if self.terms.get(one.user) != one.terms]
        self._lower(void, keep_spare=False)
        self._bar()

    def grew(self, totals: Mapping[Meter, Count]) -> list[UserId]:
        """Take in new totals; returns those who moved bytes and have nothing left of a lease."""
        self.moved.grow(counting.rows(totals), time.monotonic())
        limited = {meter.user for meter in totals if meter.user in self.terms}
        spent = [user for user in limited if self._spent(user)]
        for user in spent:
            self.barred.setdefault(user, 0.0)
        return spent

    def words(self, now_s: float, most: int = MAX_REPORT_ROWS) -> Words:
        """What the next report says, at most so many of each: leases of the idle are lowered here and now.

        So are all of them where nobody has answered for their term: others may have been given the same.
        """
        quiet_s = boot_s() - self.ledger.answered_boot_s
        if quiet_s > leases.TERM_S:
            self._lower(list(self.ledger.leases.values()), keep_spare=False)
            self._bar()
        held = self.ledger.leases
        idle = self.moved.resting(held, now_s - leases.IDLE_S)
        self._lower([held[user] for user in idle], keep_spare=True)
        self.moved.rest(idle)
        asked = tuple(islice((user for user, again_s in self.barred.items() if again_s <= now_s), most))
        # A lease whose answer was lost is one that the collector counts, and would give again as it was.
        void = (user for user in asked if user not in self.returning and not self._is_lent(user))
        told = tuple(map(self._held, self.untold[:most]))
        return Words(
            returned=(*islice(self.returning.values(), most), *map(self._held, void)),
            unleased=asked,
            overdue=self.due or bool(self.learning) or (bool(self.terms) and quiet_s > leases.KEEP_S),
            learning=self.learning,
            held=told,
            held_after=self.told,
            untold=len(self.untold) - len(told),
        )

    def recalled(self, users: Iterable[UserId], now_s: float) -> bool:
        """Lower what the idle among these hold to nothing; True when there is something to tell."""
        idle_s = now_s - leases.RECALL_IDLE_S
        held = self.ledger.leases
        idle = [held[user] for user in users if user in held and self.moved.is_idle(user, idle_s)]
        self._lower(idle, keep_spare=False)
        self.returning |= {lease.user: held[lease.user] for lease in idle}
        self._bar()
        return bool(idle)

    def answered(self, said: Words, answer: ReportAnswer, now_s: float) -> bool:
        """Take what was granted; True when somebody may be served who was not. Raises LedgerError."""
        for lease in said.returned:
            if self.returning.get(lease.user) == lease:
                del self.returning[lease.user]
        told = {one.user for one in said.returned} - self.returning.keys()
        gone = [user for user in told if user not in self.terms]
        due = [one for one in answer.leases if self.terms.get(one.user) == one.terms]
        news = [one for one in due if one.user not in self.returning]
        changed = [one for one in news if self.ledger.leases.get(one.user) != one]
        self.ledger.lend(changed, gone, answer.serial)
        self._asked(said, answer)
        freed = [user for user in self.barred if user not in self.terms or not self._spent(user)]
        for user in freed:
            del self.barred[user]
        self.barred |= {user: now_s + ASK_AGAIN_S for user in said.unleased if user in self.barred}
        return bool(freed)

    def fence(self) -> bool:
        """Stop serving the limited once nobody has answered for too long; True when that has changed."""
        before = self.fenced
        self.fenced = boot_s() - self.ledger.answered_boot_s > leases.TERM_S
        return self.fenced != before

    def _asked(self, said: Words, answer: ReportAnswer) -> None:
        self.due = False
        if answer.learning != self.learning:
            self.learning, self.told = answer.learning, 0
            self.untold = sorted(self.moved.keys() | self.ledger.leases.keys()) if answer.learning else []
        elif said.held:
            self.told = said.held[-1].user
            del self.untold[: len(said.held)]

    def _held(self, user: UserId) -> Lease:
        return leases.held(user, self.ledger.leases.get(user), self.moved.get(user, Moved()))

    def _bar(self) -> None:
        spent = {user for user in self.terms if self._spent(user)}
        self.barred = {user: self.barred.get(user, 0.0) for user in spent}

    def _spent(self, user: UserId) -> bool:
        return not self._is_lent(user) or not leases.covers(
            self.ledger.leases[user], self.moved.get(user, Moved())
        )

    def _is_lent(self, user: UserId) -> bool:
        """Whether there is a lease of the present terms, with room left or without."""
        lease = self.ledger.leases.get(user)
        return lease is not None and lease.terms == self.terms.get(user)

    def _lower(self, chosen: Iterable[Lease], *, keep_spare: bool) -> None:
        lowered = [
            less
            for lease in chosen
            if (less := self._less(lease, lease.spare if keep_spare else 0)) is not None
        ]
        self.ledger.lend(lowered, ())
        self.returning |= {lease.user: lease for lease in lowered}

    def _less(self, lease: Lease, spare: int) -> Lease | None:
        return leases.cut_down(lease, self.moved.get(lease.user, Moved()), spare)
