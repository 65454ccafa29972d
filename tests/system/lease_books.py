"""The collector of a world of leases: what it remembers of each ledger, and what it makes of a letter.

It decides with the functions that are used in production; only the database is left out.
"""

from dataclasses import dataclass, field

from collector.domain import learning, leases
from collector.domain.learning import Verdict, Word
from collector.domain.leases import Bytes, Ceilings, Holding
from shared.messages import Account, Lease
from shared.names import EndpointId, UserId

USER, TERMS = UserId(1), 1
ACCOUNT = Account(user=USER, endpoint=EndpointId(1), uuid="", terms=TERMS)


@dataclass(frozen=True)
class Letter:
    """A report on its way, or the answer to it; only a report that names the user is lent anything."""

    node: int
    ledger: str
    order: tuple[int, int]
    moved: int
    named: bool = False
    returned: Lease | None = None
    granted: Lease | None = None
    answer: bool = False
    word: Word = field(default_factory=Word)


@dataclass
class Books:
    """What the collector remembers of one ledger."""

    seen: int = 0
    ceiling: int = 0
    order: tuple[int, int] = (0, 0)
    quiet: int = 0
    serial: int = 0


@dataclass
class Collector:
    """The whole memory of a collector; a backup is a copy of it."""

    limit: int
    nodes: int
    books: dict[str, Books] = field(default_factory=dict)
    used: int = 0
    renewals: int = 0
    recalled: set[str] = field(default_factory=set)
    #: The questions that nodes have not answered, by their numbers.
    asked: dict[int, int] = field(default_factory=dict)

    def restored(self, question: int) -> None:
        """This copy is started after a gap."""
        self.asked = dict.fromkeys(range(self.nodes), question)

    def ingest(self, letter: Letter) -> Letter:
        """Book a report and answer it."""
        books = self.books.setdefault(letter.ledger, Books())
        fresh = max(0, letter.moved - books.seen)
        self.used += fresh
        books.seen += fresh
        books.quiet = 0 if fresh else books.quiet + 1
        granted = None
        if letter.order > books.order:
            books.order = letter.order
            self._hear(letter, books)
            if letter.returned is not None:
                self.recalled.discard(letter.ledger)
                books.ceiling = min(books.ceiling, letter.returned.total or 0)
            if letter.named and not self.asked:
                granted = self._grant(letter.ledger, books)
        word = Word(books.serial, self.asked.get(letter.node, 0))
        return Letter(
            letter.node, letter.ledger, letter.order, letter.moved, granted=granted, answer=True, word=word
        )

    def promised(self) -> int:
        """What the books say nodes may still serve."""
        return sum(max(0, books.ceiling - books.seen) for books in self.books.values())

    def _hear(self, letter: Letter, books: Books) -> None:
        verdict = learning.heard(letter.word, books.serial, self.asked.get(letter.node))
        if verdict is Verdict.LEARNED:
            books.ceiling = sum(lease.total or 0 for lease in letter.word.held)
            del self.asked[letter.node]
            books.serial = max(books.serial, letter.word.serial)

    def _grant(self, ledger: str, books: Books) -> Lease:
        limits, used = Ceilings(self.limit), Bytes(self.used)
        news = leases.granted(limits, used, self._holdings(), ledger, self.nodes)
        self.recalled |= leases.to_recall(limits, used, self._holdings(), ledger)
        raised = news.total != books.ceiling
        self.renewals += raised
        books.serial += raised
        books.ceiling = news.total or 0
        return Lease(USER, TERMS, leases.spare(limits, self.nodes), books.ceiling)

    def _holdings(self) -> dict[str, Holding]:
        return {
            name: Holding(
                seen=Bytes(books.seen, 0, books.seen),
                ceilings=Ceilings(books.ceiling),
                active=books.quiet < 3,
            )
            for name, books in self.books.items()
        }
