"""Events, as admins see them: pages, the audit, and the whole stream of one user (rows H8, R4, P2)."""

import dataclasses
from collections.abc import Iterable
from typing import NamedTuple

from collector.app import history, tenants
from collector.domain import replay, stream
from collector.domain.access import SYSTEM, Actor, Role
from collector.domain.events import Recorded, Thing, Wanted
from collector.domain.history import HOUR_MS, Span, total
from collector.domain.replay import Replayed
from collector.domain.stream import Cursor, Page
from collector.store import admins, events, users
from collector.store import history as usage
from collector.store.history import Hours
from collector.store.session import Session
from shared.names import UserId

__all__ = ["Page", "Recorded", "audit", "listed", "newest", "of_user", "page", "replayed", "seen"]

_PAGE = 1_000
#: Hours read at once: two months.
_HOURS = 1_488
_ADMIN = Role.ADMIN.value
_USER = Thing.USER.value


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """Who did what, when: `name` is the admin's now, `details` what changed, before and after."""

    number: int
    at_ms: int
    actor: str
    name: str | None
    action: str
    subject: str
    details: dict[str, object]


class Listed(NamedTuple):
    """Some events; `next` is after which number there may be more. Fewer may be seen than were asked for."""

    events: list[Recorded]
    next: int | None


class Audited(NamedTuple):
    """The same as entries."""

    entries: list[Entry]
    next: int | None


def page(session: Session, after: int, limit: int, wanted: Wanted | None = None) -> list[Recorded]:
    """Events in their order, those after the given number that are wanted."""
    return events.page(session, after, limit, wanted)


def newest(session: Session) -> int:
    """The number of the newest event, 0 when there is none."""
    return events.newest(session)


def listed(session: Session, after: int, limit: int, wanted: Wanted, actor: Actor) -> Listed:
    """The next events that are wanted, those of them that the caller may see."""
    found = events.page(session, after, limit, wanted)
    return Listed(seen(session, actor, found), found[-1].number if len(found) == limit else None)


def seen(session: Session, actor: Actor, found: list[Recorded]) -> list[Recorded]:
    """Those that the caller may see: a manager, what is about himself and whoever is below him."""
    mine = tenants.scope(session, actor)
    if mine is None:
        return found
    subjects = {one.number: _parted(one.subject) for one in found}
    people = users.among(session, (UserId(number) for thing, number in subjects.values() if thing == _USER))
    theirs = {(Thing.MANAGER.value, int(number)) for number in mine}
    theirs |= {(_USER, int(number)) for number, user in people.items() if user.manager in mine}
    return [one for one in found if subjects[one.number] in theirs]


def audit(session: Session, after: int, limit: int, wanted: Wanted, actor: Actor) -> Audited:
    """What people and services did: events, but for those that the collector and its nodes made."""
    found = listed(session, after, limit, dataclasses.replace(wanted, people=True), actor)
    ids = [number for role, number in (_parted(one.actor) for one in found.events) if role == _ADMIN]
    # A manager learns nothing of admins.
    names = {} if actor.manager else admins.names(session, ids)
    named = {f"{_ADMIN}:{number}": name for number, name in names.items()}
    return Audited([_entry(one, named.get(one.actor)) for one in found.events], found.next)


def of_user(
    session: Session, user: UserId, after: Cursor, limit: int, now_ms: int, actor: Actor = SYSTEM
) -> Page:
    """A page of a user's stream; on the last one his open hours are told too."""
    known = tenants.require_ever(session, actor, user)
    span = Span(max(after.next_hour, known.created_ms // HOUR_MS), now_ms // HOUR_MS + 1)
    stored = events.of_user(session, user, after, limit)
    if after == Cursor():
        hours = history.hours_of(session, user, span)
        life = (known.life_up_bytes, known.life_down_bytes)
        stored = [*stream.of_forgotten(user, life, total(hours.values()), known.created_ms), *stored]
    else:
        hours = _next_hours(session, user, span, limit)
    opened = usage.open_of_user(session, user)
    closed = [stream.of_hour(user, hour, hours[hour]) for hour in sorted(hours.keys() - opened)]
    found = stream.page(stored, closed, limit)
    if found.next is not None:
        return found
    return Page([*found.events, *_open_hours(session, user, opened, now_ms)], None)


def replayed(session: Session, user: UserId, now_ms: int) -> Replayed | None:
    """What a user's events say of him."""
    found: list[Recorded] = []
    after: Cursor | None = Cursor()
    while after is not None:
        part = of_user(session, user, after, _PAGE, now_ms)
        found += part.events
        after = part.next
    return replay.replay(found)


def _next_hours(session: Session, user: UserId, span: Span, limit: int) -> Hours:
    """The first hours of a span in which a user moved anything, at least so many if there are."""
    found: Hours = {}
    first = span.first
    while first < span.past and len(found) < limit:
        past = min(span.past, first + _HOURS)
        found |= history.hours_of(session, user, Span(first, past))
        first = past
    return found


def _open_hours(session: Session, user: UserId, opened: Iterable[int], now_ms: int) -> list[Recorded]:
    """Hours that more may be added to: of nodes that are silent they may be long past."""
    return [
        stream.of_hour(user, hour, amount, open_ms=now_ms)
        for first in sorted(opened)
        for hour, amount in history.hours_of(session, user, Span(first, first + 1)).items()
    ]


def _parted(name: str) -> tuple[str, int]:
    """The two halves of an actor or a subject."""
    what, _, number = name.partition(":")
    return what, int(number) if number.isdecimal() else 0


def _entry(event: Recorded, name: str | None) -> Entry:
    return Entry(
        number=event.number,
        at_ms=event.at_ms,
        actor=event.actor,
        name=name,
        action=event.kind,
        subject=event.subject,
        details=dict(event.data),
    )
