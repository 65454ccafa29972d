"""What the writer remembers between transactions, so that most rows of reports read nothing (row H9).

What always holds: it is only ever what the database says, or would say at the next commit. A transaction that
fails forgets all of it, as does a commit of another process that concerns any of it (`elsewhere`); whatever
changes a user, a lease, a placing or a meter by another way forgets him. Only functions that write may look
here: they all run on one thread.
"""

from collections.abc import Iterable, Mapping, Sequence

from collector.domain.agenda import Agenda
from collector.domain.columns import NONE, MeterRow
from collector.domain.lane import HIGHEST, People, Source
from collector.domain.lines import Place
from shared.names import EndpointId, LedgerId, ManagerId, NodeId, UserId

#: Meters remembered at most, at 32 bytes each; beyond that everything is learned again.
_MAX_METERS = 8_000_000


class Hot:
    """Sources by ledger; rooms of users; whom time will change; managers and those above them."""

    def __init__(self) -> None:
        self.people = People()
        self._agenda = Agenda()
        self._sources: dict[LedgerId, Source] = {}
        #: Each with everybody above him.
        self.managers: dict[ManagerId, Place] = {}
        #: Whether the present job has changed what is remembered: where it fails, that must go.
        self.touched = False
        #: Whether the present transaction has changed what another process may remember.
        self.concerned = False

    def touch(self) -> None:
        """The present job changes what is remembered, or may be by another process."""
        self.touched = self.concerned = True

    def source(self, ledger: LedgerId) -> Source | None:
        """What is remembered of a ledger."""
        return self._sources.get(ledger)

    def learn(self, ledger: LedgerId, source: Source) -> None:
        """Remember a ledger with its meters."""
        if sum(len(one.meters) for one in self._sources.values()) > _MAX_METERS:
            self.forget_all()
        self._sources[ledger] = source

    def keep(self, source: Source, rows: Sequence[MeterRow]) -> None:
        """Remember meters as they now are."""
        known, factors = [], source.factors
        for row in rows:
            user, endpoint = row[0], row[1]
            if max(row[2:]) <= HIGHEST and endpoint in factors:
                known.append(row)
            else:
                source.meters.drop(user, endpoint)
        if known:
            source.meters.put(known)

    def admit(
        self, user: UserId, room: int, manager: ManagerId | None, due_ms: int | None, period_start_ms: int
    ) -> None:
        """Let a user's rows take the fast lane until his room is used or his time has come."""
        people = self.people
        people.rooms[user] = room
        people.managers[user] = manager or 0
        people.begun[user] = period_start_ms
        self._agenda.note(user, due_ms)

    def room(self, user: UserId) -> int:
        """The room of a user; NONE where he goes the careful way."""
        return self.people.rooms[user]

    def expire(self, now_ms: int) -> None:
        """Forget whom time has changed by now."""
        if come := self._agenda.come(now_ms):
            self.forget(map(UserId, come))

    def forget(self, users: Iterable[UserId]) -> None:
        """The next rows of these users go the careful way."""
        rooms = self.people.rooms
        for user in users:
            self.concerned = True
            if rooms[user] != NONE:
                rooms[user] = NONE

    def forget_meter(self, source: Source, user: UserId, endpoint: EndpointId) -> None:
        """The next rows of this meter go the careful way."""
        source.meters.drop(user, endpoint)

    def forget_node(self, node: NodeId) -> None:
        """Learn everything of a node's ledgers again."""
        self.concerned = True
        for ledger in [name for name, source in self._sources.items() if source.node == node]:
            del self._sources[ledger]

    def forget_managers(self) -> None:
        """Read managers again before anything is added to them."""
        self.concerned = True
        self.managers = {}

    def forget_all(self) -> None:
        """Learn everything again."""
        self.concerned = True
        self.people, self._agenda = People(), Agenda()
        self._sources.clear()
        self.managers = {}

    def admitted(self) -> dict[UserId, int]:
        """The rooms of users, for tests to compare with the database."""
        return {UserId(user): room for user, room in self.people.rooms}

    def remembered(self) -> Mapping[LedgerId, Source]:
        """The sources, for tests to compare with the database."""
        return self._sources
