"""What each user has moved on this node and when last, in columns like the standings it is summed up from.

What always holds: a user's sum is that of the totals of his endpoints, whatever order they came in.
"""

import math
from array import array
from collections.abc import Iterable, Iterator, Mapping

from agent.core.counting import Row
from agent.core.leases import Moved
from shared.names import EndpointId, UserId

#: In place of the one endpoint of a user: he has used none yet, or several.
_NONE, _SEVERAL = 0, -1
#: In place of the second of his last byte: he rests, or has not moved since this agent began.
_TOLD_S = math.inf


class Moves(Mapping[UserId, Moved]):
    """Bytes by user. Seconds are of the monotonic clock."""

    def __init__(self) -> None:
        self._places: dict[UserId, int] = {}
        self._ups, self._downs, self._endpoints = array("q"), array("q"), array("q")
        self._last_s = array("d")
        self._several: dict[UserId, dict[EndpointId, Moved]] = {}

    def __getitem__(self, user: UserId) -> Moved:
        place = self._places[user]
        return Moved(self._ups[place], self._downs[place])

    def __iter__(self) -> Iterator[UserId]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def begin(self, users: Iterable[UserId], now_s: float) -> None:
        """Know these from now on, as if they had moved something now."""
        for user in users:
            self._last_s[self._place(user)] = now_s

    def grow(self, totals: Iterable[Row], now_s: float) -> None:
        """Take in what users have moved by now on each endpoint, since the ledger began."""
        places, endpoints = self._places, self._endpoints
        ups, downs, last_s = self._ups, self._downs, self._last_s
        for (user, endpoint), up, down in totals:
            place = places.get(user)
            if place is None:
                place = self._place(user)
            last_s[place] = now_s
            if endpoints[place] == endpoint:
                ups[place], downs[place] = up, down
            else:
                self._add(user, place, endpoint, Moved(up, down))

    def is_idle(self, user: UserId, since_s: float) -> bool:
        """Whether he has moved nothing since."""
        place = self._places.get(user)
        return place is None or not since_s < self._last_s[place] < _TOLD_S

    def resting(self, users: Iterable[UserId], since_s: float) -> list[UserId]:
        """Those who have moved nothing since before then and were not told `rest` after it."""
        places, last_s = self._places, self._last_s
        return [user for user in users if (at := places.get(user)) is not None and last_s[at] < since_s]

    def rest(self, users: Iterable[UserId]) -> None:
        """These are idle, and not `resting` any more, until they move again."""
        for user in users:
            self._last_s[self._place(user)] = _TOLD_S

    def _add(self, user: UserId, place: int, endpoint: EndpointId, moved: Moved) -> None:
        first = EndpointId(self._endpoints[place])
        if first == _NONE:
            self._endpoints[place] = endpoint
        else:
            if first != _SEVERAL:
                self._several[user] = {first: self[user]}
                self._endpoints[place] = _SEVERAL
            totals = self._several[user]
            totals[endpoint] = moved
            moved = Moved(sum(one.up for one in totals.values()), sum(one.down for one in totals.values()))
        self._ups[place], self._downs[place] = moved

    def _place(self, user: UserId) -> int:
        place = self._places.setdefault(user, len(self._places))
        if place == len(self._ups):
            for column in (self._ups, self._downs, self._endpoints):
                column.append(0)
            self._last_s.append(_TOLD_S)
        return place
