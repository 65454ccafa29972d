"""Who is connected now, and who has a penalty: in memory only (hue-prd 4.1), gone with the process.

What always holds: no address is in here, only hashes; a user takes bounded room, and none `window_s` after he
was seen last. A sighting counts only once its user is known to be placed on its endpoint, and its endpoint to
be the reporting node's. Times are monotonic seconds, given by the caller.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from collector.domain import penalties, sessions
from collector.domain.access import SYSTEM, Actor
from collector.domain.penalties import Penalty, Reason
from collector.domain.presence import Counts, News, Turn
from collector.domain.sessions import Rules, Sight
from shared.messages import Place, Sighting
from shared.names import EndpointId, NodeId, UserId

#: Distinct places that are kept; when there are more, they are gathered anew.
_MAX_PLACES = 20_000
_HASH_CHARACTERS = 2 * sessions.HASH_BYTES


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What became of sightings.

    Of `strangers` it is not known yet whether they count; `suspects` are users whose rules may matter.
    """

    strangers: list[Sighting]
    suspects: set[UserId]


class Person:
    """A user who is online."""

    __slots__ = ("last_s", "sights", "since_s")

    def __init__(self, now_s: float) -> None:
        self.since_s = self.last_s = now_s
        self.sights: list[Sight] = []


class Tracker:
    """All users who are online, and all penalties."""

    def __init__(self, *, window_s: float, penalty_s: float, first_number: int = 1) -> None:
        self.window_s = window_s
        self.penalty_s = penalty_s
        self.news: list[News] = []
        self._number = first_number
        #: The least recently seen first.
        self._people: OrderedDict[UserId, Person] = OrderedDict()
        #: The first to end first.
        self._penalties: OrderedDict[UserId, Penalty] = OrderedDict()
        self._nodes: dict[EndpointId, NodeId] = {}
        self._places: dict[Place, Place] = {}

    # --- what nodes say ---

    def see(self, node: NodeId, salt: int, rows: Iterable[Sighting], now_s: float) -> Taken:
        """Count the sightings of who was seen on that endpoint of that node before."""
        taken = Taken(strangers=[], suspects=set())
        for row in rows:
            sight = _sight(salt, row, now_s)
            if sight is None:
                continue
            person = self._people.get(row.user)
            if person is None or not self._noted(person, node, sight):
                taken.strangers.append(row)
                continue
            self._touch(row.user, person, now_s)
            if len(person.sights) > 1 or sight.device is not None:
                taken.suspects.add(row.user)
        return taken

    def admit(
        self,
        node: NodeId,
        salt: int,
        rows: Iterable[Sighting],
        placed: Iterable[tuple[UserId, EndpointId]],
        now_s: float,
    ) -> set[UserId]:
        """Count those of these sightings whose users are placed there; returns whose rules may matter."""
        allowed = set(placed)
        self._nodes |= {endpoint: node for _, endpoint in allowed}
        suspects: set[UserId] = set()
        for row in rows:
            sight = _sight(salt, row, now_s)
            if sight is None or (row.user, row.endpoint) not in allowed:
                continue
            person = self._people.get(row.user) or self._arrived(row, now_s)
            self._touch(row.user, person, now_s)
            if not sessions.refreshed(person.sights, sight):
                self._add(person, sight)
            suspects.add(row.user)
        return suspects

    def judge(self, rules: Iterable[Rules], now_s: float) -> list[UserId]:
        """Give a penalty to each of these users who breaks his rules and has none; returns them."""
        return [one.user for one in rules if self._judged(one, now_s)]

    # --- what time does ---

    def advance(self, now_s: float) -> None:
        """Let whoever was not seen for a window's length go offline, and end the penalties that are over."""
        since_s = now_s - self.window_s
        while self._people:
            user, person = next(iter(self._people.items()))
            if person.last_s > since_s:
                break
            del self._people[user]
            self._tell(Turn.DISCONNECTED, user, person.last_s, online_s=round(person.last_s - person.since_s))
        while self._penalties:
            user, penalty = next(iter(self._penalties.items()))
            if penalty.until_s > now_s:
                break
            self.lift(user, penalty.until_s)

    # --- what is asked ---

    def online(self) -> int:
        """How many users are online."""
        return len(self._people)

    def counts(self, users: Iterable[UserId] | None, now_s: float) -> Counts:
        """How many of these users, or of all, are online, and from how many addresses."""
        asked = self._people.keys() if users is None else set(users)
        people = [self._people[user] for user in asked if user in self._people]
        return Counts(online=len(people), sessions=sum(self._count(one, now_s) for one in people))

    def live(self, now_s: float) -> dict[UserId, int]:
        """From how many addresses each user who is online is."""
        return {user: self._count(person, now_s) for user, person in self._people.items()}

    def person(self, user: UserId, now_s: float) -> Person | None:
        """What is known of a user who is online, as far as it is not older than the window."""
        person = self._people.get(user)
        if person is not None:
            sessions.prune(person.sights, now_s - self.window_s)
        return person

    def penalised(self, now_s: float) -> dict[UserId, Penalty]:
        """The penalties that have not ended."""
        return {user: one for user, one in self._penalties.items() if one.until_s > now_s}

    def lift(self, user: UserId, now_s: float, actor: Actor = SYSTEM) -> bool:
        """End a penalty; what was seen of him until now counts no more. False when he has none."""
        if self._penalties.pop(user, None) is None:
            return False
        if person := self._people.get(user):
            person.sights.clear()
        self.news.append(News(turn=Turn.LIFTED, user=user, at_s=now_s, actor=actor))
        return True

    # --- the rest ---

    def _noted(self, person: Person, node: NodeId, sight: Sight) -> bool:
        """Note a sight of whom it is known that he is placed there; False when it is not known."""
        if self._nodes.get(sight.endpoint) != node:
            return False
        if sessions.refreshed(person.sights, sight):
            return True
        if all(one.endpoint != sight.endpoint for one in person.sights):
            return False
        self._add(person, sight)
        return True

    def _touch(self, user: UserId, person: Person, now_s: float) -> None:
        person.last_s = now_s
        self._people.move_to_end(user)

    def _add(self, person: Person, sight: Sight) -> None:
        if sight.place is not None:
            sight.place = self._kept(sight.place)
        sessions.prune(person.sights, sight.last_s - self.window_s)
        sessions.add(person.sights, sight)

    def _kept(self, place: Place) -> Place:
        if len(self._places) >= _MAX_PLACES:
            self._places.clear()
        return self._places.setdefault(place, place)

    def _arrived(self, row: Sighting, now_s: float) -> Person:
        person = self._people[row.user] = Person(now_s)
        country = None if row.place is None else row.place.country
        self._tell(Turn.CONNECTED, row.user, now_s, endpoint=row.endpoint, country=country)
        return person

    def _judged(self, rules: Rules, now_s: float) -> bool:
        person = self.person(rules.user, now_s)
        if person is None or rules.user in self._penalties:
            return False
        count = sessions.count(person.sights)
        devices = {one.device for one in person.sights if one.device is not None}
        reason = penalties.offence(rules, count, devices)
        if reason is None:
            return False
        self._impose(rules, reason, count, now_s)
        return True

    def _impose(self, rules: Rules, reason: Reason, count: int, now_s: float) -> None:
        until_s = now_s + self.penalty_s
        penalty = Penalty(user=rules.user, reason=reason, until_s=until_s, number=self._number)
        self._number += 1
        self._penalties[rules.user] = penalty
        about = {"sessions": count, "max_concurrent": rules.max_concurrent, "for_s": self.penalty_s}
        self._tell(Turn.PENALISED, rules.user, now_s, reason=reason.value, **about)

    def _count(self, person: Person, now_s: float) -> int:
        since_s = now_s - self.window_s
        if len(person.sights) == 1:
            return int(person.sights[0].last_s > since_s)
        return sessions.count(one for one in person.sights if one.last_s > since_s)

    def _tell(self, turn: Turn, user: UserId, at_s: float, **data: object) -> None:
        self.news.append(News(turn=turn, user=user, at_s=at_s, data=data))


def _sight(salt: int, row: Sighting, now_s: float) -> Sight | None:
    """The sighting as it is kept; None when its hash is none."""
    if len(row.address) != _HASH_CHARACTERS:
        return None
    try:
        address = bytes.fromhex(row.address)
    except ValueError:
        return None
    return Sight(salt, address, row.endpoint, now_s, row.device, row.place)
