"""Nodes that borrow from a collector: an agent's real ledger and real loans, and every word by wire."""

from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from agent import ledger
from agent.core import plan
from agent.core.counting import Count, Meter
from agent.loops.loans import Loans, Words, boot_s
from collector.app import endpoints, nodes, usage, users
from collector.domain.endpoints import NewEndpoint
from collector.domain.nodes import NewNode
from collector.domain.reports import Received
from collector.fronts.rest import usage as front
from collector.store import nodes as stored
from shared.messages import Account, Item, Report, ReportAnswer, Usage
from shared.names import EndpointId, NodeId, UserId, account_key
from tests.collector.app.fleet import ADMIN, NOW_MS, Fleet


@dataclass
class Borrower:
    """One node: its ledger, what users have moved there, and what it may serve of them."""

    node: NodeId
    endpoint: EndpointId
    book: ledger.Ledger
    #: Most users it tells of in one report, where it is asked.
    most: int = 100
    #: Under which terms users are served here.
    terms: int = 1
    sequence: int = 0
    moved: dict[UserId, int] = field(default_factory=dict)
    loans: Loans = field(init=False)

    def __post_init__(self) -> None:
        self.loans = Loans(ledger=self.book)

    def serves(self, *people: UserId) -> None:
        """Learn from the desired state who needs a lease here."""
        accounts = [Account(user=user, endpoint=self.endpoint, uuid="", terms=self.terms) for user in people]
        items = {
            key: Item(key=key, generation=1, body=account)
            for account in accounts
            for key in [account_key(account.user, account.endpoint)]
        }
        self.loans.expect(plan.Holding(generation=1, items=items))

    def ceiling(self, user: UserId) -> int:
        """Up to where it may serve him."""
        lease = self.book.leases.get(user)
        return 0 if lease is None else lease.total or 0

    def left(self, user: UserId) -> int:
        """What it may still serve him."""
        return max(0, self.ceiling(user) - self.moved.get(user, 0))

    def serve(self, user: UserId, wanted: int) -> int:
        """Let him move so many bytes, or what is left of his lease; returns how many."""
        got = min(wanted, self.left(user))
        self.moved[user] = self.moved.get(user, 0) + got
        self.loans.grew({Meter(user, self.endpoint): Count(0, self.moved[user])})
        return got

    def give_back(self, user: UserId) -> None:
        """Give the whole lease of an idle user back, as a recall would have it; the next report says so."""
        self.loans.moved.rest([user])
        assert self.loans.recalled([user], 0.0)

    def words(self) -> tuple[Words, Report]:
        """What it reports now."""
        self.sequence += 1
        # Whoever has nothing left is asked for in every report.
        self.loans.barred = dict.fromkeys(self.loans.barred, 0.0)
        words = self.loans.words(0.0, self.most)
        rows = [Usage(user, self.endpoint, 0, moved) for user, moved in sorted(self.moved.items())]
        return words, Report(
            ledger=self.book.id,
            rows=rows,
            epoch=1,
            sequence=self.sequence,
            returned=list(words.returned),
            unleased=list(words.unleased),
            serial=self.book.serial,
            learning=words.learning,
            held=list(words.held),
            held_after=words.held_after,
            untold=words.untold,
        )

    def report(self, fleet: Fleet, now_ms: int) -> ReportAnswer:
        """Report, and take the answer."""
        words, report = self.words()
        answer = send(fleet, self.node, report, now_ms)
        self.book.answered(boot_s())
        self.loans.answered(words, answer, 0.0)
        return answer


def send(fleet: Fleet, node: NodeId, report: Report, now_ms: int) -> ReportAnswer:
    """Let a report arrive."""
    received: Received = front.decode(msgspec.json.encode(report))
    return fleet.db.write_now(usage.ingest, node, received, now_ms).value


def borrower(fleet: Fleet, folder: Path, name: str, *, enrolled: bool = True) -> Borrower:
    """A new node with an endpoint and an empty ledger."""
    node = fleet.db.write_now(nodes.create, NewNode(name=name), ADMIN, NOW_MS).value.id
    if enrolled:
        fleet.db.write_now(stored.enrolled, node, name, b"", NOW_MS)
    new = NewEndpoint(name="main", protocol="vless", port=443)
    endpoint = fleet.db.write_now(endpoints.create, node, new, ADMIN, NOW_MS).value.id
    return Borrower(node, endpoint, ledger.open_ledger(folder / f"{name}.db"))


def place(fleet: Fleet, user: UserId, *where: Borrower) -> None:
    """Put a user on exactly these nodes."""
    fleet.db.write_now(users.assign, user, [one.endpoint for one in where], ADMIN, NOW_MS)
    for one in where:
        one.serves(*{*one.loans.terms, user})
