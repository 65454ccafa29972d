"""What the collector sees to when it begins to serve."""

from collector.domain import access, continuity
from collector.domain.events import Event
from collector.store import events, ids
from collector.store.session import Session


def begin(session: Session, now_ms: int) -> None:
    """Note the start; after a gap give out no number that the time in between may have used."""
    if floor := continuity.floor_after(ids.last_written_ms(session), now_ms):
        ids.raise_floor(session, floor)
    actor = str(access.SYSTEM)
    events.append(session, Event(at_ms=now_ms, actor=actor, kind="COLLECTOR_STARTED", subject="collector"))
