"""What the loops share: the cores, the ledger, the link, and what is known of each.

What always holds:
- `changing` is held by whoever changes what a core serves; `metering` by whoever reads and books, since a
  reading booked after a younger one would count bytes twice.
- Whoever needs several takes `settling` first, then `changing`, then `metering`.
- `holding` is what the node goes by, even while the disk refuses to keep it.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from agent.core import plan
from agent.core.counting import Meter, Reading
from agent.core.periods import Pace
from agent.core.served import Served
from agent.drivers.base import Driver
from agent.ledger import Ledger, LedgerError
from agent.link import Link
from agent.loops.loans import Loans
from shared import logs
from shared.messages import Account, Applied
from shared.names import EndpointId, UserId

LOGGER = logging.getLogger(__name__)


@dataclass
class Core:
    """One program that serves users, by its driver.

    `serving` is what it serves as far as we know; `certain` is false after a change that broke off midway,
    `stale` true while it runs otherwise than it would be started.
    """

    driver: Driver
    serving: Served = field(default_factory=Served)
    certain: bool = True
    stale: bool = False
    #: The newest reading of each source and generation that the ledger could not keep: of what is gone since
    #: there is no other.
    unbooked: dict[tuple[str, str], Reading] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What it is called in logs and in the ledger."""
        return self.driver.name


@dataclass(kw_only=True)
class Node:
    """One running agent."""

    cores: Sequence[Core]
    ledger: Ledger
    link: Link
    pace: Pace
    holding: plan.Holding
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)
    settling: asyncio.Lock = field(default_factory=asyncio.Lock)
    metering: asyncio.Lock = field(default_factory=asyncio.Lock)
    refused: dict[EndpointId, plan.RefusedEndpoint] = field(default_factory=dict)
    unjoined: dict[Meter, str] = field(default_factory=dict)
    #: Why items of the desired state are not served, by item key, as last told to the collector.
    failures: dict[str, str] = field(default_factory=dict)
    untold: dict[str, Applied] = field(default_factory=dict)
    #: Meters whose total the collector has not confirmed, with the monotonic second of the reading.
    unreported: dict[Meter, float] = field(default_factory=dict)
    #: Users who have used up their lease and are not cut yet, with the second of the reading.
    spent: dict[UserId, float] = field(default_factory=dict)
    #: Meters of the report whose answer is awaited or being obeyed, with the second of the reading.
    in_flight: dict[Meter, float] = field(default_factory=dict)
    grew: asyncio.Event = field(default_factory=asyncio.Event)
    loans: Loans = field(init=False)
    #: The wall clock, in milliseconds since the epoch: when bytes were used.
    clock: Callable[[], int] = field(default_factory=lambda: now_ms)
    #: Users with a penalty, with the monotonic second of its end, and the name of that list.
    penalised: Mapping[UserId, float] = field(default_factory=dict)
    penalty_mark: int = 0
    unwell: asyncio.Event = field(default_factory=asyncio.Event)
    #: What an operator must know and nothing else shows, by topic.
    problems: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Take up the leases that the ledger holds."""
        self.loans = Loans(ledger=self.ledger)
        self.borrow()

    def tell_all(self) -> None:
        """Count every total as not told: a collector restored from a backup has forgotten.

        A report goes even where there is none: the answer may ask what this node holds.
        """
        now_s = time.monotonic()
        self.unreported = dict.fromkeys(self.ledger.standings, now_s) | self.unreported
        self.loans.due = True
        self.grew.set()

    @property
    def serving(self) -> Served:
        """What all cores serve, as far as we know."""
        return plan.together(core.serving for core in self.cores)

    def wanted(self) -> plan.Wanted:
        """What is to be served now, and why the rest is not."""
        protocols = frozenset[str]().union(*(core.driver.protocols for core in self.cores))
        return plan.wanted(self.holding, self.refused, self.serving, self._may_serve, protocols)

    def wanted_of(self, core: Core) -> Served:
        """What this core is to serve now."""
        return plan.part(self.wanted().served, core.driver.protocols)

    def serves(self, meter: Meter) -> bool:
        """Whether somebody is served there, as far as we know."""
        return any(meter in core.serving.accounts for core in self.cores)

    def hold(self, held: plan.Holding) -> None:
        """Go by this from now on, and keep it; a disk that refuses is tried again by `keep`."""
        self.holding = held
        self.keep()
        self.borrow()

    def keep(self) -> None:
        """Bring the ledger up to what the node goes by."""
        try:
            self.ledger.hold(self.holding)
        except LedgerError as error:
            self.trouble("state", str(error))
        else:
            self.well("state")

    def borrow(self) -> None:
        """Learn from the desired state who needs a lease; who has none is asked for in the next report."""
        try:
            self.loans.expect(self.holding)
        except LedgerError as error:
            self.trouble("ledger", str(error))
        if self.loans.barred:
            self.grew.set()

    def give_back(self, users: Iterable[UserId]) -> None:
        """Return the leases of these users, where they are idle here."""
        try:
            if self.loans.recalled(users, time.monotonic()):
                self.grew.set()
        except LedgerError as error:
            self.trouble("ledger", str(error))

    def stop(self, users: Iterable[UserId], generation: int) -> None:
        """Serve these users no longer, by the collector's word on what was reported under `generation`."""
        self.hold(plan.stop(self.holding, users, generation))

    def trouble(self, topic: str, what: str) -> None:
        """Show a lasting problem in the heartbeat, and log it once."""
        if self.problems.get(topic) != what:
            logs.event(LOGGER, logging.ERROR, "trouble", topic=topic, what=what)
            self.unwell.set()
        self.problems[topic] = what

    def well(self, topic: str) -> None:
        """A problem is over."""
        if self.problems.pop(topic, None) is not None:
            logs.event(LOGGER, logging.INFO, "trouble_over", topic=topic)

    def incident(self, kind: str, detail: str) -> None:
        """Log an incident and keep it for the collector."""
        logs.event(LOGGER, logging.ERROR, "incident", kind=kind, detail=detail)
        try:
            self.ledger.incident(kind, detail, at_ms=now_ms())
        except LedgerError as error:
            self.trouble("ledger", str(error))
        self.unwell.set()

    def _may_serve(self, account: Account) -> bool:
        return account.user not in self.penalised and self.loans.serves(account)

    async def book(self, core: Core) -> list[Meter]:
        """Read a core and keep what it counted; returns who moved bytes.

        Raises DriverError or LedgerError with nothing lost. One reading that cannot be kept hinders no other
        of the same core.
        """
        async with self.metering:
            at_ms, read_s = self.clock(), time.monotonic()
            for one in await core.driver.read():
                core.unbooked[one.source, one.generation] = one
            grown, failures = self._book_all(core, at_ms, read_s)
        if failures:
            raise next(iter(failures.values()))
        return grown

    def _book_all(self, core: Core, at_ms: int, read_s: float) -> tuple[list[Meter], dict[str, LedgerError]]:
        """Book what was read; returns who moved bytes, and by source why a reading could not be kept."""
        grown: list[Meter] = []
        failures: dict[str, LedgerError] = {}
        for key, reading in list(core.unbooked.items()):
            if reading.source in failures:
                continue  # booked before the one that it follows, it would keep that out for good
            try:
                grown += self._book(reading, at_ms, read_s)
            except LedgerError as error:
                failures[reading.source] = error
                if not self.ledger.replaced(reading.generation):
                    continue
            del core.unbooked[key]
        for source in failures:
            self._foresee([one for one in core.unbooked.values() if one.source == source], read_s)
        return grown, failures

    def _book(self, reading: Reading, at_ms: int, read_s: float) -> Collection[Meter]:
        grown = self.ledger.book(reading, at_ms)
        if not grown:
            return ()
        self.spent |= dict.fromkeys(self.loans.grew(grown), read_s)
        for meter in grown:
            self.unreported.setdefault(meter, read_s)
        self.grew.set()
        return grown

    def _foresee(self, readings: Iterable[Reading], read_s: float) -> None:
        """Judge by what cannot be kept now: a disk that is full must not be a way around a quota."""
        unsaved = self.loans.grew(self.ledger.preview(readings))
        self.spent |= dict.fromkeys(unsaved, read_s)


def now_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000
