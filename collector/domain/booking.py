"""The books of one report: what becomes of the users in it, in the order in which their bytes were used.

What always holds: whoever was charged carefully for one moment is charged carefully for all later ones; a
period ends with the bytes that were used in it, whenever they are told.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from collector.domain import metering, standing
from collector.domain.metering import Charge, Held
from collector.domain.reports import Received
from collector.domain.users import User
from shared.messages import Usage
from shared.names import QUARTER_MS, ManagerId, UserId


@dataclass
class Books:
    """Users before the report and now, the moves through time and bytes, and what managers are billed."""

    before: dict[UserId, User] = field(default_factory=dict)
    after: dict[UserId, User] = field(default_factory=dict)
    steps: list[tuple[User, User]] = field(default_factory=list)
    held: list[Held] = field(default_factory=list)
    #: Up and down by the quarter of an hour of their use, where every period begins and ends.
    billed: dict[int, dict[ManagerId, tuple[int, int]]] = field(default_factory=dict)
    #: Meters that took the fast lane and are not stored yet, as rows of their table, a list for each moment.
    moved: list[list[tuple[int, ...]]] = field(default_factory=list)
    #: The moment that was booked last.
    booked_ms: int = 0


def by_time(report: Received, now_ms: int) -> Iterator[tuple[int, list[tuple[int, Usage]]]]:
    """The rows of a report with the moment by which their bytes were used, the earliest first."""
    moments: dict[int, list[tuple[int, Usage]]] = {}
    for place, row, quarter in report.past:
        moments.setdefault(metering.used_ms(quarter, now_ms), []).append((place, row))
    present_ms = metering.used_ms(report.quarter, now_ms)
    if present_ms not in moments:
        moments[present_ms] = report.rows
    else:
        moments[present_ms] += report.rows
    yield from sorted(moments.items())


def open_for(books: Books, users: Mapping[UserId, User]) -> None:
    """Take users into the books as they are."""
    books.before |= users
    books.after |= users


def charge(books: Books, charges: Iterable[Charge], held: Iterable[Held]) -> None:
    """Charge users and their managers, each for the time of the bytes."""
    books.held += held
    for one in charges:
        earlier = books.after[one.key.user]
        user = standing.advanced(earlier, one.at_ms)
        charged = standing.charged(user, one.up, one.down, one.at_ms)
        _step(books, earlier, user)
        _step(books, user, charged)
        if user.manager is not None:
            add_up(books, {user.manager: (one.up, one.down)}, one.at_ms)


def moved(books: Books) -> list[tuple[int, ...]]:
    """Take out what is to be stored of meters: of each what it was last."""
    batches, books.moved = books.moved, []
    if len(batches) == 1:
        return batches[0]
    return list({row[:3]: row for batch in batches for row in batch}.values())


def add_up(books: Books, billed: Mapping[ManagerId, tuple[int, int]], at_ms: int) -> None:
    """Bill managers for users directly below them, for bytes used at this moment."""
    if not billed:
        return
    sums = books.billed.setdefault(at_ms // QUARTER_MS, {})
    for manager, (up, down) in billed.items():
        before_up, before_down = sums.get(manager, (0, 0))
        sums[manager] = (before_up + up, before_down + down)


def finish(books: Books, now_ms: int) -> None:
    """Bring everybody in the books to the present."""
    for earlier in list(books.after.values()):
        _step(books, earlier, standing.advanced(earlier, now_ms))


def _step(books: Books, earlier: User, later: User) -> None:
    if later is not earlier:
        books.steps.append((earlier, later))
        books.after[later.id] = later
