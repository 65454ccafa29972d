"""What the books say of sessions, and what they are told: who comes and goes, penalties (rows H1, H7, H8)."""

from collections.abc import Iterable, Sequence

import msgspec

from collector.domain import course
from collector.domain.changes import Change
from collector.domain.events import PAYLOADS, Event, Kind
from collector.domain.presence import News, Turn
from collector.domain.sessions import Rules
from collector.store import events, sessions
from collector.store.session import Session
from shared.names import MAX_ID, EndpointId, NodeId, UserId

_PRESENCE = (Turn.CONNECTED, Turn.DISCONNECTED)


def placed(session: Session, node: NodeId, users: Iterable[UserId]) -> list[tuple[UserId, EndpointId]]:
    """On which endpoints of a node these users are placed; a number that nobody can have is nobody's."""
    return sessions.placed(session, node, (user for user in users if 0 < user <= MAX_ID))


def nodes(session: Session, users: Iterable[UserId]) -> frozenset[NodeId]:
    """The nodes that must hear of these users."""
    return sessions.nodes(session, users)


def rules(session: Session, users: Iterable[UserId]) -> list[Rules]:
    """The rules of those of these users who have any."""
    return sessions.rules(session, users)


def note(session: Session, news: Sequence[News], now_ms: int, now_s: float) -> Change[None]:
    """Write down what became of users, in its order; `now_s` is the present on the clock of the news."""
    moments = [one.at_ms(now_ms, now_s) for one in news]
    present = [(one.user, at_ms) for one, at_ms in zip(news, moments, strict=True) if one.turn in _PRESENCE]
    sessions.note_connected(session, present)
    # An event is of the moment it is written at, so their times follow their order; when it was is beside it.
    events.append_all(session, [_event(one, at_ms, now_ms) for one, at_ms in zip(news, moments, strict=True)])
    return Change(None)


def _event(news: News, at_ms: int, now_ms: int) -> Event:
    kind = Kind(news.turn.value)
    data = msgspec.convert({**news.data, "since_ms": at_ms}, PAYLOADS[kind])
    return Event(at_ms=now_ms, actor=news.actor, kind=kind, subject=course.subject(news.user), data=data)
