"""Sessions from what nodes say to what becomes of it: the tracker in memory, the books, the nodes to wake.

What always holds: a penalty is in force, and its nodes are woken, before it is written down; what could not
be written is written with the next try, in its order. The salt's key is in memory only and changes with the
UTC day; a restart makes a new one, and forgets who is online and every penalty.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Iterable
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from msgspec import structs

from collector.app import sessions as books
from collector.domain import penalties as judging
from collector.domain import sessions as rules
from collector.domain.access import Actor
from collector.domain.penalties import Penalty
from collector.domain.presence import Counts, News
from collector.domain.sessions import Salt, Salts
from collector.hub import Hub
from collector.tracker import Person, Tracker
from shared import logs
from shared.messages import DesiredState, Sightings, SightingsAnswer
from shared.messages import Penalty as ToldPenalty
from shared.names import NodeId, UserId

LOGGER = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

#: Seconds between looks at who has gone offline and which penalties are over.
TICK_S = 1.0
#: What waits to be written while the database refuses; beyond that the oldest is given up, and said so.
MAX_NEWS = 100_000
_NUMBER_BITS = 48


class Data(Protocol):
    """Runs app functions; the first argument of each is the session."""

    async def read(self, function: Callable[Concatenate[Any, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function that only reads, on one snapshot."""

    async def write(self, function: Callable[Concatenate[Any, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function and return after its commit."""


class Sessions:
    """Who is connected, as the rest of the collector asks and is told. Runs on the event loop's thread."""

    def __init__(
        self,
        data: Data,
        hub: Hub,
        tracker: Tracker,
        *,
        now_ms: Callable[[], int],
        now_s: Callable[[], float] = time.monotonic,
        key: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._data = data
        self._hub = hub
        self._tracker = tracker
        self._now_ms = now_ms
        self._now_s = now_s
        self._key = key
        self._salts: Salts | None = None
        self._telling = asyncio.Lock()

    async def sight(self, node: NodeId, sightings: Sightings) -> SightingsAnswer:
        """Take what a node sees; returns after it is judged, obeyed and written down."""
        now_s, salts = self._now_s(), self._turned()
        taken = salts.accepts(sightings.salt, now_s)
        if taken and sightings.rows:
            self._tracker.advance(now_s)
            suspects = await self._count(node, sightings, now_s)
            if suspects:
                await self._judge(suspects)
            await self._tell()
        for_s = rules.left_s(self._now_ms())
        return SightingsAnswer(salt=salts.present.number, key=salts.present.key, for_s=for_s, taken=taken)

    def live(self) -> dict[UserId, int]:
        """The sessions of each user who is online."""
        return self._tracker.live(self._now_s())

    async def tick(self) -> None:
        """Let time do what it does; call it every `TICK_S`."""
        self._turned()
        self._tracker.advance(self._now_s())
        await self._tell()

    async def penalised(self, node: NodeId, state: DesiredState) -> DesiredState:
        """The state with the penalties that this node must know of."""
        present = self._tracker.penalised(self._now_s())
        if not present:
            return state
        here = {user for user, _ in await self._data.read(books.placed, node, present)}
        listed = [present[user] for user in sorted(here)]
        return told(state, listed, self._now_s())

    async def lift(self, user: UserId, actor: Actor) -> bool:
        """End a user's penalty; False when he has none."""
        nodes = await self._data.read(books.nodes, [user])
        lifted = self._tracker.lift(user, self._now_s(), actor)
        if lifted:
            self._hub.wake(nodes)
            await self._tell()
        return lifted

    def counts(self, users: Iterable[UserId] | None = None) -> Counts:
        """How many of these users, or of all, are online, and from how many addresses."""
        return self._tracker.counts(users, self._now_s())

    def person(self, user: UserId) -> Person | None:
        """What is known of a user who is online."""
        return self._tracker.person(user, self._now_s())

    def penalties(self) -> dict[UserId, Penalty]:
        """All penalties."""
        return self._tracker.penalised(self._now_s())

    def ago_s(self, moment_s: float) -> float:
        """Seconds from a moment of the tracker's until now; negative for one to come."""
        return self._now_s() - moment_s

    async def _count(self, node: NodeId, sightings: Sightings, now_s: float) -> set[UserId]:
        taken = self._tracker.see(node, sightings.salt, sightings.rows, now_s)
        if not taken.strangers:
            return taken.suspects
        placed = await self._data.read(books.placed, node, {row.user for row in taken.strangers})
        fresh = self._tracker.admit(node, sightings.salt, taken.strangers, placed, now_s)
        return taken.suspects | fresh

    async def _judge(self, suspects: set[UserId]) -> None:
        found = await self._data.read(books.rules, suspects)
        guilty = self._tracker.judge(found, self._now_s())
        if not guilty:
            return
        try:
            nodes = await self._data.read(books.nodes, guilty)
        except Exception:
            self._hub.wake_all()
            raise
        self._hub.wake(nodes)

    async def _tell(self) -> None:
        """Write down what is new; what the database refuses stays, and the refusal goes to the caller."""
        async with self._telling:
            news, self._tracker.news = self._tracker.news, []
            if not news:
                return
            try:
                await self._data.write(books.note, news, self._now_ms(), self._now_s())
            except BaseException:
                self._put_back(news)
                raise

    def _put_back(self, news: list[News]) -> None:
        waiting = [*news, *self._tracker.news]
        self._tracker.news = waiting[-MAX_NEWS:]
        if lost := len(waiting) - len(self._tracker.news):
            logs.event(LOGGER, logging.ERROR, "presence_lost", events=lost)

    def _turned(self) -> Salts:
        today = rules.day(self._now_ms())
        if self._salts is None or self._salts.present.day != today:
            # By chance, so that no node takes the salt of another collector, or of an earlier life, for this.
            number = 1 + secrets.randbits(_NUMBER_BITS)
            fresh = Salt(number=number, key=self._key(rules.KEY_BYTES), day=today)
            self._salts = rules.turned(self._salts, fresh, self._now_s() + self._tracker.window_s)
        return self._salts


def told(state: DesiredState, listed: list[Penalty], now_s: float) -> DesiredState:
    """The state with these penalties."""
    penalised = [ToldPenalty(one.user, round(one.until_s - now_s, 3)) for one in listed]
    return structs.replace(state, penalised=penalised, penalty_mark=judging.mark(listed))
