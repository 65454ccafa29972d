"""Events: every change of state, in the transaction that made it (row H8)."""

import msgspec

from collector.domain.events import Event
from collector.store.session import Session


def append(session: Session, event: Event) -> None:
    """Store one event."""
    append_all(session, [event])


def append_all(session: Session, events: list[Event]) -> None:
    """Store events in their order."""
    session.insert_many(
        "event",
        ("at_ms", "actor", "kind", "subject", "data"),
        [(one.at_ms, one.actor, one.kind, one.subject, msgspec.json.encode(one.data)) for one in events],
    )


def page(session: Session, after: int, limit: int) -> list[Event]:
    """Events in their order, those after the given number."""
    rows = session.rows(
        "SELECT id, at_ms, actor, kind, subject, data FROM event WHERE id > ? ORDER BY id LIMIT ?",
        (after, limit),
    )
    return [
        Event(
            number=number, at_ms=at, actor=actor, kind=kind, subject=subject, data=msgspec.json.decode(data)
        )
        for number, at, actor, kind, subject, data in rows
    ]
