"""Events, as admins see them: the audit is a view of these (rows R4, H8)."""

from collector.domain.events import Event
from collector.store import events
from collector.store.session import Session

__all__ = ["Event", "page"]


def page(session: Session, after: int, limit: int) -> list[Event]:
    """Events in their order, those after the given number."""
    return events.page(session, after, limit)
