"""The meters of one ledger in columns of numbers: 32 bytes each, where Python's own values take 300.

What always holds: users are in order, and every column has a place for each of them. Reports name users in
order, too, so that whoever reads one finds the next user in the next place. What a total is billed follows
from the factor of its endpoint; a meter whose bill differs from that has its differences kept apart.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence

from shared.names import EndpointId, UserId

_UNIT_PERMILLE = 1_000
#: What stands where there is no meter, or where the quiet of a lease is not known.
NONE = -1

#: User, endpoint, totals: raw up and down, billed up and down.
MeterRow = tuple[UserId, EndpointId, int, int, int, int]


class Columns:
    """`quiet` is the raw bytes of a user before his lease is looked at; `totals` are raw up and down."""

    __slots__ = ("_factors", "quiet", "shifts", "totals", "users")

    def __init__(self, factors: Mapping[EndpointId, int]) -> None:
        self._factors = factors
        self.users = array("q")
        self.quiet = array("q")
        self.totals: dict[EndpointId, tuple[array[int], array[int]]] = {}
        #: What meters are billed beyond what their factor says: after a rebase, or by another factor before.
        self.shifts: dict[tuple[UserId, EndpointId], tuple[int, int]] = {}

    def __len__(self) -> int:
        """Places for meters, taken or not."""
        return len(self.users) * max(1, len(self.totals))

    def __iter__(self) -> Iterator[MeterRow]:
        """Every meter, for tests to compare."""
        for endpoint, (ups, downs) in self.totals.items():
            for user, up, down in zip(map(UserId, self.users), ups, downs, strict=True):
                if up != NONE:
                    yield (user, endpoint, up, down, *self.billed(user, endpoint, up, down))

    def has(self, user: UserId, endpoint: EndpointId) -> bool:
        """Whether there is this meter."""
        place = self._place(user)
        return place != NONE and endpoint in self.totals and self.totals[endpoint][0][place] != NONE

    def billed(self, user: UserId, endpoint: EndpointId, up: int, down: int) -> tuple[int, int]:
        """What is billed of a meter with these totals."""
        factor = self._factors[endpoint]
        more_up, more_down = self.shifts.get((user, endpoint), (0, 0))
        return up * factor // _UNIT_PERMILLE + more_up, down * factor // _UNIT_PERMILLE + more_down

    def put(self, rows: Sequence[MeterRow]) -> None:
        """Keep meters as they are now, new ones too; the endpoints must have factors."""
        self._grow({row[0] for row in rows})
        users, blank, nothing = self.users, array("q", [NONE]) * len(self.users), (0, 0)
        for user, endpoint, up, down, billed_up, billed_down in rows:
            if endpoint not in self.totals:
                self.totals[endpoint] = blank[:], blank[:]
            ups, downs = self.totals[endpoint]
            place = bisect_left(users, user)
            ups[place], downs[place] = up, down
            factor = self._factors[endpoint]
            shift = (billed_up - up * factor // _UNIT_PERMILLE, billed_down - down * factor // _UNIT_PERMILLE)
            if shift != nothing:
                self.shifts[user, endpoint] = shift
            elif self.shifts:
                self.shifts.pop((user, endpoint), None)

    def drop(self, user: UserId, endpoint: EndpointId) -> None:
        """Forget a meter."""
        if self.has(user, endpoint):
            self.totals[endpoint][0][self._place(user)] = NONE

    def quiet_of(self, user: UserId) -> int:
        """The quiet of a user's lease; NONE where it is not known."""
        place = self._place(user)
        return NONE if place == NONE else self.quiet[place]

    def hush(self, user: UserId, quiet: int) -> None:
        """Keep the quiet of a user's lease, if he has a meter here."""
        place = self._place(user)
        if place != NONE:
            self.quiet[place] = quiet

    def _place(self, user: UserId) -> int:
        place = bisect_left(self.users, user)
        return place if place < len(self.users) and self.users[place] == user else NONE

    def _grow(self, users: Iterable[UserId]) -> None:
        """Make places for those of these users who have none."""
        new = sorted(user for user in users if self._place(user) == NONE)
        if not new:
            return
        places = [bisect_left(self.users, user) for user in new]
        blank = [NONE] * len(new)
        self.users = _spread(self.users, places, new)
        self.quiet = _spread(self.quiet, places, blank)
        self.totals = {
            endpoint: (_spread(ups, places, blank), _spread(downs, places, blank))
            for endpoint, (ups, downs) in self.totals.items()
        }


def _spread(column: "array[int]", places: Sequence[int], values: Sequence[int]) -> "array[int]":
    """A column with values put in before these places, which are in order."""
    if places[0] == len(column):
        return column + array("q", values)
    made, before = array("q"), 0
    for place, value in zip(places, values, strict=True):
        made += column[before:place]
        made.append(value)
        before = place
    return made + column[before:]
