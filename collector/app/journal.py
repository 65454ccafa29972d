"""Old events are dropped, and nobody's replay breaks by it (row H8; retention).

What always holds: of every user who is there, or of whom an event is kept, one event that is kept says all of
him. A number is never given out twice: what is appended comes before what is dropped.
"""

from collections.abc import Iterable

from collector.domain import course
from collector.domain.access import SYSTEM
from collector.domain.changes import Change
from collector.domain.events import COLLECTOR, Event, Kind, Recorded
from collector.domain.payloads import Dropped
from collector.store import events as stored
from collector.store import facts, users
from collector.store.session import Session
from shared.names import UserId

#: Up to which id users are still to be told of, who were there before events said everything.
UNTOLD = "untold_user"
_USER = "user:"


def cut(session: Session, before_ms: int, limit: int, now_ms: int) -> Change[int]:
    """Drop up to `limit` events older than this, the oldest first; returns how many were."""
    old = stored.oldest(session, before_ms, limit)
    if not old:
        return Change(0)
    through = old[-1].number
    _snapshot(session, _losing(session, old, through), now_ms)
    dropped = Dropped(count=len(old), through=through)
    event = Event(at_ms=now_ms, actor=SYSTEM, kind=Kind.EVENTS_DROPPED, subject=COLLECTOR, data=dropped)
    stored.append(session, event)
    stored.drop(session, through)
    return Change(len(old))


def tell_untold(session: Session, limit: int, now_ms: int) -> Change[int]:
    """Tell all of up to `limit` users who were there before events did; returns how many ids that took."""
    highest = facts.find(session, UNTOLD)
    if highest is None:
        return Change(0)
    lowest = max(0, highest - limit)
    _snapshot(session, (UserId(number) for number in range(lowest + 1, highest + 1)), now_ms)
    if lowest:
        facts.put(session, UNTOLD, lowest)
    else:
        facts.forget(session, UNTOLD)
    return Change(highest - lowest)


def _snapshot(session: Session, wanted: Iterable[UserId], now_ms: int) -> None:
    """Tell all of these users, those of them that exist."""
    known = users.among(session, wanted)
    gone = users.removed_among(session, known)
    for number, user in sorted(known.items()):
        stored.append_all(session, course.snapshot(user, SYSTEM, now_ms, is_removed=number in gone))


def _losing(session: Session, old: Iterable[Recorded], through: int) -> list[UserId]:
    """The users of whom nothing that is kept would say all, and of whom something should."""
    named = {_user(one) for one in old if one.subject.startswith(_USER)}
    complete = stored.last_complete(session, named)
    losing = {user for user in named if user not in complete or complete[user].number <= through}
    gone = users.removed_among(session, losing)
    return [user for user in losing if user not in gone or stored.newest_of(session, user) > through]


def _user(event: Recorded) -> UserId:
    return UserId(int(event.subject.removeprefix(_USER)))
