"""A collector in a few lines, behind the seam of the link: totals by max, a desired state, faults to order.

It keeps the promises of the wire contract and nothing else; what it stores is a model, plain enough to be
read at a glance.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

import msgspec

from agent import ledger, wire
from agent.core.periods import Pace
from agent.drivers.memory import MemoryDriver
from agent.identity import Identity
from agent.link import Link
from agent.loops import serving
from agent.loops.node import Core, Node, now_ms
from shared.messages import (
    Account,
    Applied,
    DesiredState,
    Endpoint,
    Heartbeat,
    HeartbeatAnswer,
    Item,
    Lease,
    Past,
    Penalty,
    Quarantined,
    Report,
    ReportAnswer,
    Sightings,
    SightingsAnswer,
    SyncReport,
    Token,
    Usage,
)
from shared.names import EndpointId, NodeId, UserId, account_key, endpoint_key

Body = Endpoint | Account

IDENTITY = Identity(
    url="http://127.0.0.1:1", node=NodeId(4), name="n", client_id="node-4", client_secret="sesame"
)
#: Loops that turn as fast as they can; a poll waits long enough to be woken.
FAST = Pace(poll_s=0.005, report_min_s=0.0, report_s=0.05, heartbeat_s=0.05, full_compare_s=30.0, wait_s=5)
KEY = b"k" * 32


def endpoint(number: int = 1, port: int = 443) -> Endpoint:
    return Endpoint(endpoint=EndpointId(number), protocol="vless", port=port)


def account(user: int, on: int = 1, uuid: str = "u", terms: int | None = None) -> Account:
    return Account(user=UserId(user), endpoint=EndpointId(on), uuid=f"{uuid}{user}", terms=terms)


def key(body: Body) -> str:
    return (
        endpoint_key(body.endpoint) if isinstance(body, Endpoint) else account_key(body.user, body.endpoint)
    )


class Request(NamedTuple):
    """What an agent asked."""

    path: str
    query: Mapping[str, list[str]]
    bearer: str
    body: bytes

    def of(self, name: str) -> str:
        return self.query[name][0]


@dataclass
class Collector:
    """Answers agents; a test reads and sets everything."""

    generation: int = 0
    items: dict[str, Item] = field(default_factory=dict)
    totals: dict[tuple[str, UserId, EndpointId], tuple[int, int]] = field(default_factory=dict)
    #: Bytes of both directions by the quarter of an hour in which they count.
    used: dict[tuple[UserId, int], int] = field(default_factory=dict)
    #: Bytes after which a user is stopped and leaves the desired state.
    quotas: dict[UserId, int] = field(default_factory=dict)
    reports: list[Report] = field(default_factory=list)
    outcomes: dict[str, Applied] = field(default_factory=dict)
    beats: list[Heartbeat] = field(default_factory=list)
    quarantined: list[Quarantined] = field(default_factory=list)
    #: What is lent to whom; told whenever a report names him.
    leases: dict[UserId, Lease] = field(default_factory=dict)
    epoch_seen: int = 0
    #: The serial of what it has lent, and its question what a node holds.
    serial: int = 0
    learning: int = 0
    incidents_seen: int = 0
    #: Who has a penalty, for how many seconds; the mark of the list, which `penalise` moves.
    penalised: dict[UserId, float] = field(default_factory=dict)
    penalty_mark: int = 0
    #: The salt that rows must be made with, how long it is good for, and what was told.
    salt: int = 1
    salt_for_s: float = 3600.0
    sightings: list[Sightings] = field(default_factory=list)
    revoked: bool = False
    away: bool = False
    #: While set, requests are taken and not answered.
    silent: asyncio.Event | None = None
    #: Replies to the next reports that get lost after they took effect.
    lost_replies: int = 0
    #: Answers to give to the next requests instead of the right one.
    instead: deque[wire.Answer] = field(default_factory=deque)
    tokens: int = 0
    token_life_s: int = 900
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def want(self, *bodies: Body) -> None:
        """Add or change items under a new generation."""
        self._change(*((key(body), body) for body in bodies))

    def drop(self, *keys: str) -> None:
        """Let items be served no longer."""
        self._change(*((name, None) for name in keys))

    def penalise(self, **users: float) -> None:
        """These users, each as `u7`, have a penalty of so many seconds from now on, and nobody else."""
        self.penalised = {UserId(int(name[1:])): for_s for name, for_s in users.items()}
        self.penalty_mark = 0 if not users else self.penalty_mark + 1
        self.wake()

    def billed(self, user: int) -> int:
        """Bytes of a user over all ledgers and endpoints."""
        return sum(up + down for (_, who, _), (up, down) in self.totals.items() if who == user)

    async def ask(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None, answer_s: float
    ) -> wire.Answer:
        """As `wire.Wire` does."""
        assert (method == "POST") == (body is not None)
        target = urlsplit(path)
        bearer = headers.get("Authorization", "")
        async with asyncio.timeout(answer_s):
            return await self.answer(Request(target.path, parse_qs(target.query), bearer, body or b""))

    async def close(self) -> None:
        """There is nothing to close."""

    async def answer(self, request: Request) -> wire.Answer:
        """What it says, or its failure to."""
        if self.away:
            raise wire.WireError("connection refused")
        if self.silent:
            await self.silent.wait()
        if self.instead:
            return self.instead.popleft()
        if request.path == "/api/v1/auth/token":
            return self._token()
        if self.revoked or request.bearer != f"Bearer t{self.tokens}":
            return problem(401, "token not accepted")
        return await self._obey(request)

    async def _obey(self, request: Request) -> wire.Answer:
        path = request.path
        if path.endswith("/configs"):
            return await self._configs(request)
        if path.endswith("/configs/sync"):
            sent = msgspec.json.decode(request.body, type=SyncReport)
            self.outcomes |= {outcome.key: outcome for outcome in sent.items}
            return wire.Answer(204, {}, b"")
        if path.endswith("/heartbeat"):
            self.beats.append(msgspec.json.decode(request.body, type=Heartbeat))
            return message(HeartbeatAnswer(incidents_seen=self.incidents_seen))
        if path.endswith("/sessions"):
            return self._sessions(msgspec.json.decode(request.body, type=Sightings))
        return self._usage(msgspec.json.decode(request.body, type=Report))

    def merge(self, report: Report) -> ReportAnswer:
        """What a report does, however often and however late it comes."""
        for past in report.past:
            self._charge(report.ledger, past, past.quarter)
        for row in report.rows:
            self._charge(report.ledger, row, report.quarter)
        named = {row.user for row in report.past} | {row.user for row in report.rows}
        over = [u for u in named if self.billed(u) >= self.quotas.get(u, 2**62)]
        self.drop(*(name for u in over for name in self.items if name.startswith(f"account/{u}/")))
        return ReportAnswer(
            accepted=len(report.past) + len(report.rows),
            quarantined=self.quarantined,
            stopped=over,
            leases=[lease for user, lease in self.leases.items() if user in named | set(report.unleased)],
            epoch_seen=max(self.epoch_seen, report.epoch),
            serial=self.serial,
            learning=self.learning,
        )

    def _charge(self, ledger: str, row: Usage | Past, quarter: int) -> None:
        place = (ledger, row.user, row.endpoint)
        up, down = self.totals.get(place, (0, 0))
        self.totals[place] = (max(up, row.up), max(down, row.down))
        if news := sum(self.totals[place]) - up - down:
            self.used[row.user, quarter] = self.used.get((row.user, quarter), 0) + news

    def _sessions(self, told: Sightings) -> wire.Answer:
        self.sightings.append(told)
        taken = told.salt == self.salt
        return message(SightingsAnswer(salt=self.salt, key=KEY, for_s=self.salt_for_s, taken=taken))

    def _usage(self, report: Report) -> wire.Answer:
        self.reports.append(report)
        answer = self.merge(report)
        if self.lost_replies:
            self.lost_replies -= 1
            raise wire.SilentError("the reply was lost")
        return message(answer)

    def _token(self) -> wire.Answer:
        if self.revoked:
            return problem(401, "unknown client")
        self.tokens += 1
        return message(Token(access_token=f"t{self.tokens}", expires_in=self.token_life_s))

    async def _configs(self, request: Request) -> wire.Answer:
        since, wait_s = int(request.of("since")), float(request.of("wait"))
        known = int(request.of("penalty_mark")) == self.penalty_mark
        if since == self.generation and known and wait_s:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self.news.wait()
            if self.revoked:
                return problem(401, "token not accepted")
        full = since == 0
        items = [item for item in self.items.values() if item.generation > since and (item.body or not full)]
        penalised = [Penalty(user, for_s) for user, for_s in self.penalised.items()]
        return message(
            DesiredState(
                generation=self.generation,
                full=full,
                items=items,
                penalised=penalised,
                penalty_mark=self.penalty_mark,
            )
        )

    def _change(self, *changes: tuple[str, Body | None]) -> None:
        changed = [(name, body) for name, body in changes if self._body(name) != body]
        if changed:
            self.generation += 1
            self.items |= {n: Item(key=n, generation=self.generation, body=b) for n, b in changed}
            self.wake()

    def _body(self, name: str) -> Body | None:
        item = self.items.get(name)
        return None if item is None else item.body

    def wake(self) -> None:
        """Answer everybody who waits."""
        self.news.set()
        self.news = asyncio.Event()


def problem(status: int, title: str) -> wire.Answer:
    body = {"type": "about:blank", "title": title, "status": status, "detail": ""}
    return said(status, msgspec.json.encode(body), "application/problem+json")


def message(body: msgspec.Struct) -> wire.Answer:
    return said(200, msgspec.json.encode(body), "application/json")


def said(status: int, body: bytes, kind: str = "text/html") -> wire.Answer:
    return wire.Answer(status, {"content-type": kind}, body)


def linked(collector: Collector) -> Link:
    return Link(IDENTITY, over=collector)


@contextlib.asynccontextmanager
async def node(
    folder: Path,
    collector: Collector,
    driver: MemoryDriver,
    pace: Pace = FAST,
    clock: Callable[[], int] = now_ms,
) -> AsyncIterator[Node]:
    """A node that was started as its agent starts it, without its loops; dropped as a kill drops it."""
    link = linked(collector)
    book = ledger.open_ledger(folder / ledger.FILE_NAME)
    try:
        it = Node(cores=[Core(driver)], ledger=book, link=link, pace=pace, holding=book.held, clock=clock)
        await serving.boot(it)
        yield it
    finally:
        book.close()
        await link.close()


def usage(user: int, up: int, down: int) -> Usage:
    return Usage(user=UserId(user), endpoint=EndpointId(1), up=up, down=down)
