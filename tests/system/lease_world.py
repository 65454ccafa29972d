"""A world of leases: one user on many nodes, a collector, and a network that loses and repeats.

Both sides decide with the functions they use in production; only clocks, sockets and disks are left out. What
is checked after every step: no byte is delivered beyond the limit but those a node lets pass between two
readings, and the collector's books never promise more than the limit.
"""

import random
from dataclasses import dataclass, field

from agent.core import leases as held
from collector.domain import leases
from collector.domain.leases import Bytes, Ceilings, Holding
from shared.messages import Account, Lease
from shared.names import EndpointId, UserId

USER, TERMS = UserId(1), 1
ACCOUNT = Account(user=USER, endpoint=EndpointId(1), uuid="", terms=TERMS)


@dataclass(frozen=True)
class Letter:
    """A report on its way, or the answer to it."""

    node: int
    ledger: str
    order: tuple[int, int]
    moved: int
    returned: Lease | None = None
    granted: Lease | None = None
    answer: bool = False


@dataclass
class Node:
    """One node: what it let pass, and up to where it may."""

    ledger: str
    epoch: int = 1
    sequence: int = 0
    moved: int = 0
    idle: int = 0
    lease: Lease | None = None
    waiting: tuple[int, int] | None = None
    overrun: int = 0

    def may_serve(self) -> bool:
        """What the agent would decide."""
        mine = {} if self.lease is None else {USER: self.lease}
        return held.serves(ACCOUNT, mine, {USER: held.Moved(0, self.moved)})


@dataclass
class Books:
    """What the collector remembers of one ledger."""

    seen: int = 0
    ceiling: int = 0
    order: tuple[int, int] = (0, 0)
    quiet: int = 0


@dataclass
class World:
    """Everything, advanced one random step at a time."""

    limit: int
    per_tick: int
    chance: random.Random
    nodes: list[Node]
    books: dict[str, Books] = field(default_factory=dict)
    letters: list[Letter] = field(default_factory=list)
    delivered: int = 0
    used: int = 0
    renewals: int = 0
    collector_up: bool = True
    faults: bool = True
    recalled: set[str] = field(default_factory=set)

    def step(self) -> None:
        """One random thing happens."""
        number = self.chance.randrange(len(self.nodes))
        luck = self.chance.random() if self.faults else self.chance.random() * 0.97
        if luck < 0.45:
            self._traffic(self.nodes[number])
        elif luck < 0.70:
            self._report(number)
        elif luck < 0.97:
            self._deliver()
        elif luck < 0.985:
            self._lose()
        elif luck < 0.995:
            self._restart(number)
        elif luck < 0.9955:
            self._new_disk(number)
        else:
            self.collector_up = not self.collector_up or self.chance.random() < 0.9
        self._check()

    def _traffic(self, node: Node) -> None:
        if not node.may_serve():
            return
        wanted = self.chance.randrange(self.per_tick + 1)
        ceiling = node.lease.total if node.lease else 0
        node.moved += wanted
        node.idle = 0
        node.overrun += max(0, node.moved - (ceiling or 0))
        self.delivered += wanted

    def _report(self, number: int) -> None:
        node = self.nodes[number]
        node.idle += 1
        node.sequence += 1
        returned = None
        wanted = node.ledger in self.recalled
        if node.lease is not None and (node.idle > 5 or (wanted and node.idle > 1)):
            spare = 0 if wanted else node.lease.spare
            returned = held.cut_down(node.lease, held.Moved(0, node.moved), spare)
            node.lease = returned or node.lease
        node.waiting = (node.epoch, node.sequence)
        self.letters.append(Letter(number, node.ledger, node.waiting, node.moved, returned))
        while self.letters and not self.faults:
            self._deliver()

    def _deliver(self) -> None:
        if not self.letters:
            return
        place = self.chance.randrange(len(self.letters))
        keep = self.faults and self.chance.random() < 0.1
        letter = self.letters[place] if keep else self.letters.pop(place)
        if letter.answer:
            self._answered(letter)
        elif self.collector_up:
            self._ingest(letter)

    def _lose(self) -> None:
        if self.letters:
            self.letters.pop(self.chance.randrange(len(self.letters)))

    def _restart(self, number: int) -> None:
        # The lease is on the node's disk; an answer to the dead agent is never read.
        node = self.nodes[number]
        node.epoch, node.sequence, node.waiting = node.epoch + 1, 0, None

    def _new_disk(self, number: int) -> None:
        old = self.nodes[number]
        self.nodes[number] = Node(ledger=f"{old.ledger}'", overrun=old.overrun)

    def _answered(self, letter: Letter) -> None:
        node = self.nodes[letter.node]
        if letter.ledger == node.ledger and letter.order == node.waiting:
            node.waiting = None
            node.lease = letter.granted or node.lease

    def _ingest(self, letter: Letter) -> None:
        books = self.books.setdefault(letter.ledger, Books())
        fresh = max(0, letter.moved - books.seen)
        self.used += fresh
        books.seen += fresh
        books.quiet = 0 if fresh else books.quiet + 1
        granted = None
        if letter.order > books.order:
            books.order = letter.order
            if letter.returned is not None:
                self.recalled.discard(letter.ledger)
                books.ceiling = min(books.ceiling, letter.returned.total or 0)
            granted = self._grant(letter.ledger, books)
        self.letters.append(Letter(letter.node, letter.ledger, letter.order, 0, granted=granted, answer=True))

    def _grant(self, ledger: str, books: Books) -> Lease:
        news = leases.granted(
            Ceilings(self.limit), Bytes(self.used), self._holdings(), ledger, len(self.nodes)
        )
        self.recalled |= leases.to_recall(Ceilings(self.limit), Bytes(self.used), self._holdings(), ledger)
        self.renewals += news.total != books.ceiling
        books.ceiling = news.total or 0
        return Lease(USER, TERMS, leases.spare(Ceilings(self.limit), len(self.nodes)), books.ceiling)

    def _holdings(self) -> dict[str, Holding]:
        return {
            name: Holding(
                seen=Bytes(books.seen, 0, books.seen),
                ceilings=Ceilings(books.ceiling),
                active=books.quiet < 3,
            )
            for name, books in self.books.items()
        }

    @property
    def bound(self) -> int:
        """The overshoot that is promised: what nodes let pass between two readings when they ran over."""
        return sum(node.overrun for node in self.nodes)

    def _check(self) -> None:
        assert self.delivered <= self.limit + self.bound
        promised = sum(max(0, books.ceiling - books.seen) for books in self.books.values())
        assert self.used + promised <= self.limit + self.bound
