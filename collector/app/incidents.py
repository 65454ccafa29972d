"""Incidents, as admins see them."""

from collector.domain.incidents import Seen
from collector.store import incidents
from collector.store.session import Session

__all__ = ["Seen", "page"]


def page(session: Session, after: int, limit: int) -> list[Seen]:
    """Incidents in the order they arrived, those after the given id."""
    return incidents.page(session, after, limit)
