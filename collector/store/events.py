"""Events: every change of state, in the transaction that made it (rows H8, R4).

What always holds: numbers rise in the order of the commits.
"""

from collections.abc import Iterable, Sequence

import msgspec

from collector.domain import course
from collector.domain.events import ITSELF, Event, Kind, Recorded, Wanted
from collector.domain.stream import Cursor
from collector.store.session import Session
from shared.names import UserId

_COLUMNS = ("at_ms", "actor", "kind", "subject", "data")
_SELECT = "SELECT id, at_ms, actor, kind, subject, data FROM event"


def append(session: Session, event: Event) -> None:
    """Store one event."""
    append_all(session, (event,))


def append_all(session: Session, events: Sequence[Event]) -> None:
    """Store events in their order."""
    if events:
        session.insert_many("event", _COLUMNS, [_row(one) for one in events])


def page(session: Session, after: int, limit: int, wanted: Wanted | None = None) -> list[Recorded]:
    """Events in their order, those after the given number that are wanted."""
    where, values = _where(wanted or Wanted())
    sql = f"{_SELECT} WHERE id > ?{where} ORDER BY id LIMIT ?"
    return [_recorded(*row) for row in session.rows(sql, (after, *values, limit))]


def of_user(session: Session, user: UserId, after: Cursor, limit: int) -> list[Recorded]:
    """A user's events by time, those behind the cursor."""
    sql = _SELECT + " WHERE subject = ? AND (at_ms, id) > (?, ?) ORDER BY at_ms, id LIMIT ?"
    values = (_subject(user), after.at_ms, after.number, limit)
    return [_recorded(*row) for row in session.rows(sql, values)]


def newest_of(session: Session, user: UserId) -> int:
    """The number of a user's newest event, 0 when there is none."""
    sql = "SELECT COALESCE(MAX(id), 0) FROM event WHERE subject = ?"
    return int(session.rows(sql, (_subject(user),))[0][0])


def newest(session: Session) -> int:
    """The number of the newest event, 0 when there is none."""
    return int(session.rows("SELECT COALESCE(MAX(id), 0) FROM event")[0][0])


def oldest(session: Session, before_ms: int, limit: int) -> list[Recorded]:
    """The first events, as far as they are all older than this."""
    first = page(session, 0, limit)
    young = next((place for place, one in enumerate(first) if one.at_ms >= before_ms), len(first))
    return first[:young]


def drop(session: Session, through: int) -> None:
    """Forget the events up to this number. The newest must stay: the next number follows from it."""
    session.run("DELETE FROM event WHERE id <= ?", (through,))


def last_complete(session: Session, users: Iterable[UserId]) -> dict[UserId, Recorded]:
    """For each of these users the latest event that says all of him, where there is one."""
    found: dict[UserId, Recorded] = {}
    sql = _SELECT + " WHERE subject = ? AND kind IN (?, ?) ORDER BY id DESC LIMIT 1"
    for user in users:
        for row in session.rows(sql, (_subject(user), Kind.USER_SNAPSHOT.value, Kind.USER_CREATED.value)):
            found[user] = _recorded(*row)
    return found


def _where(wanted: Wanted) -> tuple[str, list[object]]:
    # Of one subject there are few events: no other index may be taken in place of that one.
    plain = " || ''" if wanted.subject else ""
    asked: dict[str, object] = {
        "subject = ?": wanted.subject,
        f"actor{plain} = ?": wanted.actor,
        f"kind{plain} = ?": wanted.kind,
    }
    asked |= {"at_ms >= ?": wanted.from_ms, "at_ms < ?": wanted.to_ms}
    terms = {term: value for term, value in asked.items() if value is not None}
    others = [f"{role}:%" for role in ITSELF] if wanted.people else []
    where = "".join(f" AND {term}" for term in (*terms, *(["actor NOT LIKE ?"] * len(others))))
    return where, [*terms.values(), *others]


def _subject(user: UserId) -> str:
    return str(course.subject(user))


def _row(event: Event) -> tuple[object, ...]:
    data = msgspec.json.encode(event.data)
    return event.at_ms, str(event.actor), event.kind.value, str(event.subject), data


def _recorded(number: int, at_ms: int, actor: str, kind: str, subject: str, data: bytes) -> Recorded:
    decoded = msgspec.json.decode(bytes(data))
    return Recorded(number=number, at_ms=at_ms, actor=actor, kind=kind, subject=subject, data=decoded)
