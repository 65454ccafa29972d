"""How far events were posted: a durable cursor, so that a restart loses none (row T7)."""

from collector.domain.changes import Change
from collector.domain.events import Recorded
from collector.store import events, facts
from collector.store.session import Session

_SENT = "webhook_sent"


def begun(session: Session) -> bool:
    """Whether anything was ever posted."""
    return facts.find(session, _SENT) is not None


def begin(session: Session) -> Change[None]:
    """Post what happens from now on."""
    facts.put(session, _SENT, events.newest(session))
    return Change(None)


def waiting(session: Session, limit: int) -> list[Recorded]:
    """The next events to post, in their order."""
    return events.page(session, facts.find(session, _SENT) or 0, limit)


def sent(session: Session, through: int) -> Change[None]:
    """Events up to this number have arrived."""
    facts.put(session, _SENT, through)
    return Change(None)
