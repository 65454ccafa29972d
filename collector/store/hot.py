"""What the writer remembers between transactions, so that most rows of reports read nothing (row H9).

What always holds: it is only ever what the database says, or would say at the next commit. A transaction that
fails forgets all of it, as does a commit of another process that concerns any of it (`elsewhere`); whatever
changes a user, a lease, a placing or a meter by another way forgets him. Only functions that write may look
here: they all run on one thread.
"""

from collections.abc import Container, Iterable, Mapping

from collector.domain.lane import HIGHEST, Source, Totals
from shared.names import EndpointId, LedgerId, ManagerId, NodeId, UserId

#: Meters remembered at most, at about 300 bytes each; beyond that everything is learned again.
_MAX_METERS = 3_000_000
_NEVER_MS = 2**62
#: Bytes told within this time of their use may take the fast lane.
_RECENT_MS = 3_600_000


class Hot:
    """Sources by ledger; rooms of users; whom time will change, and who belongs to a manager."""

    def __init__(self) -> None:
        self.rooms: dict[UserId, int] = {}
        self.managers: dict[UserId, ManagerId] = {}
        self._dues: dict[UserId, int] = {}
        #: When the present periods began of those in which it was not long ago.
        self._begun: dict[UserId, int] = {}
        self._earliest_ms = _NEVER_MS
        self._sources: dict[LedgerId, Source] = {}
        self._meters = 0
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
        self._meters += sum(map(len, source.meters.values()))
        if self._meters > _MAX_METERS:
            self.forget_all()
        self._sources[ledger] = source

    def meter(self, source: Source, user: UserId, endpoint: EndpointId, totals: Totals) -> None:
        """Remember one meter as it now is."""
        if max(totals) > HIGHEST:
            source.meters.get(endpoint, {}).pop(user, None)
            return
        of_endpoint = source.meters.setdefault(endpoint, {})
        self._meters += user not in of_endpoint
        of_endpoint[user] = totals

    def admit(
        self,
        user: UserId,
        room: int,
        manager: ManagerId | None,
        due_ms: int | None,
        period_start_ms: int,
        now_ms: int,
    ) -> None:
        """Let a user's rows take the fast lane until his room is used or his time has come."""
        self.rooms[user] = room
        if manager is not None:
            self.managers[user] = manager
        if due_ms is not None:
            self._dues[user] = due_ms
            self._earliest_ms = min(self._earliest_ms, due_ms)
        if period_start_ms > now_ms - _RECENT_MS:
            self._begun[user] = period_start_ms
        else:
            self._begun.pop(user, None)

    def not_before(self, at_ms: int, now_ms: int) -> Container[UserId] | None:
        """Whose bytes of that moment do not belong to the period his room is of; None is nobody.

        Of moments long ago nothing is remembered: then it is everybody.
        """
        if at_ms == now_ms:
            return None
        if at_ms < now_ms - _RECENT_MS:
            return self.rooms.keys()
        return {user for user, begun_ms in self._begun.items() if begun_ms > at_ms} or None

    def expire(self, now_ms: int) -> None:
        """Forget whom time has changed by now."""
        if now_ms < self._earliest_ms:
            return
        self.forget([user for user, due_ms in self._dues.items() if due_ms <= now_ms])
        self._earliest_ms = min(self._dues.values(), default=_NEVER_MS)

    def forget(self, users: Iterable[UserId]) -> None:
        """The next rows of these users go the careful way."""
        for user in users:
            self.concerned = True
            self.rooms.pop(user, None)
            self._dues.pop(user, None)
            self._begun.pop(user, None)
            self.managers.pop(user, None)

    def forget_meter(self, source: Source, user: UserId, endpoint: EndpointId) -> None:
        """The next rows of this meter go the careful way."""
        source.meters.get(endpoint, {}).pop(user, None)

    def forget_node(self, node: NodeId) -> None:
        """Learn everything of a node's ledgers again."""
        self.concerned = True
        for ledger in [name for name, source in self._sources.items() if source.node == node]:
            del self._sources[ledger]

    def forget_all(self) -> None:
        """Learn everything again."""
        self.concerned = True
        for table in (self.rooms, self.managers, self._dues, self._begun, self._sources):
            table.clear()
        self._earliest_ms = _NEVER_MS
        self._meters = 0

    def remembered(self) -> Mapping[LedgerId, Source]:
        """The sources, for tests to compare with the database."""
        return self._sources
