"""A world of leases: one user on many nodes, a collector, and a network that loses and repeats.

Both sides decide with the functions they use in production; only clocks, sockets and disks are left out. What
is checked after every step: no byte is delivered beyond the limit but those a node lets pass between two
readings, nodes hold leases to no more than that, and the collector's books never promise more than the limit.
"""

import copy
import random
from dataclasses import dataclass, field

from agent.core import leases as held
from collector.domain.learning import Word
from shared.messages import Lease
from tests.system.lease_books import ACCOUNT, USER, Collector, Letter


@dataclass
class Node:
    """One node: what it let pass, and up to where it may."""

    ledger: str
    epoch: int = 1
    sequence: int = 0
    moved: int = 0
    told: int = 0
    idle: int = 0
    lease: Lease | None = None
    serial: int = 0
    learning: int = 0
    telling: bool = False
    waiting: tuple[int, int] | None = None
    overrun: int = 0
    #: It cannot reach the collector, and serves on.
    away: bool = False

    def may_serve(self) -> bool:
        """What the agent would decide."""
        mine = {} if self.lease is None else {USER: self.lease}
        return held.serves(ACCOUNT, mine, {USER: held.Moved(0, self.moved)})

    def left(self) -> int:
        """What it may still serve without asking."""
        return max(0, (self.lease.total or 0) - self.moved) if self.lease else 0

    def word(self) -> Word:
        """What it says of what it holds."""
        told = (held.held(USER, self.lease, held.Moved(0, self.moved)),) if self.telling else ()
        return Word(self.serial, self.learning, told)

    def answered(self, letter: Letter) -> None:
        """Take a lease, and the collector's question."""
        self.waiting, self.told = None, letter.moved
        if letter.granted is not None:
            self.lease, self.serial = letter.granted, letter.word.serial
        if letter.word.learning != self.learning:
            self.learning = letter.word.learning
            self.telling = self.learning > 0


@dataclass
class World:
    """Everything, advanced one random step at a time.

    A world where the collector is `restoring` older copies of its memory loses no disk of a node: what a lost
    ledger has told since the copy nobody knows any more.
    """

    limit: int
    per_tick: int
    chance: random.Random
    nodes: list[Node]
    collector: Collector
    letters: list[Letter] = field(default_factory=list)
    copies: list[Collector] = field(default_factory=list)
    restores: int = 0
    delivered: int = 0
    collector_up: bool = True
    faults: bool = True
    restoring: bool = False

    def step(self) -> None:
        """One random thing happens."""
        number = self.chance.randrange(len(self.nodes))
        luck = self.chance.random() if self.faults else self.chance.random() * 0.97
        if self.restoring and self.faults and self.chance.random() < 0.02:
            self._back_up_or_restore()
        elif luck < 0.45:
            self._traffic(self.nodes[number])
        elif luck < 0.46:
            self.nodes[number].away = self.faults and self.chance.random() < 0.5
        elif luck < (0.58 if self.restoring else 0.70):
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

    def back_up(self) -> None:
        """Copy what the collector knows."""
        self.copies.append(copy.deepcopy(self.collector))

    def restore(self, older: Collector) -> None:
        """Put an older copy in its place."""
        self.restores += 1
        self.collector = copy.deepcopy(older)
        self.collector.restored(question=self.restores)
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
        if node.away and self.faults:
            return
        returned = None
        wanted = node.ledger in self.collector.recalled
        if node.lease is not None and (node.idle > 5 or (wanted and node.idle > 1)):
            spare = 0 if wanted else node.lease.spare
            lowered = held.cut_down(node.lease, held.Moved(0, node.moved), spare)
            node.lease = lowered or node.lease
            # Whoever is asked for a lease says what he has of it, lowered or not.
            returned = node.lease if wanted else lowered
        node.waiting = (node.epoch, node.sequence)
        named = node.moved > node.told or returned is not None or not node.may_serve()
        letter = Letter(number, node.ledger, node.waiting, node.moved, named, returned, word=node.word())
        self.letters.append(letter)
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
            self.letters.append(self.collector.ingest(letter))

    def _lose(self) -> None:
        if self.letters:
            self.letters.pop(self.chance.randrange(len(self.letters)))

    def _restart(self, number: int) -> None:
        # The lease is on the node's disk; an answer to the dead agent is never read, a question forgotten.
        node = self.nodes[number]
        node.epoch, node.sequence, node.waiting, node.told = node.epoch + 1, 0, None, 0
        node.learning, node.telling = 0, False

    def _new_disk(self, number: int) -> None:
        old = self.nodes[number]
        if not self.restoring:
            self.nodes[number] = Node(ledger=f"{old.ledger}'", overrun=old.overrun)

    def _back_up_or_restore(self) -> None:
        if self.copies and self.chance.random() < 0.5:
            self.restore(self.chance.choice(self.copies))
        else:
            self.back_up()

    def _answered(self, letter: Letter) -> None:
        node = self.nodes[letter.node]
        if letter.ledger == node.ledger and letter.order == node.waiting:
            node.answered(letter)

    @property
    def bound(self) -> int:
        """The overshoot that is promised: what nodes let pass between two readings when they ran over."""
        return sum(node.overrun for node in self.nodes)

    def _check(self) -> None:
        may_come = sum(node.left() for node in self.nodes)
        assert self.delivered + may_come <= self.limit + self.bound
        if not self.restores:
            # A copy does not know what was given back since.
            assert self.collector.used + self.collector.promised() <= self.limit + self.bound
