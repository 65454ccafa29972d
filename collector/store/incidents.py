"""Incidents on nodes."""

from collections.abc import Iterable

from collector.domain.incidents import Seen
from collector.store.session import Session
from shared.messages import Incident
from shared.names import NodeId


def append(session: Session, node: NodeId, incidents: Iterable[Incident], now_ms: int) -> list[Incident]:
    """Store incidents; those known already are left as they are. Returns the new ones."""
    told = {one.number: one for one in incidents}
    if not told:
        return []
    rows = session.rows(
        f"SELECT i.number FROM {session.wanted} JOIN incident AS i ON i.number = wanted.value"
        " WHERE i.node_id = ?",
        (session.numbers(told), node),
    )
    new = [one for number, one in sorted(told.items()) if (number,) not in rows]
    session.insert_many(
        "incident",
        ("node_id", "number", "at_ms", "received_ms", "kind", "detail"),
        [(node, one.number, one.at_ms, now_ms, one.kind, one.detail) for one in new],
    )
    return new


def highest(session: Session, node: NodeId) -> int:
    """The highest incident number of a node, 0 when there was none."""
    rows = session.rows("SELECT COALESCE(MAX(number), 0) FROM incident WHERE node_id = ?", (node,))
    return int(rows[0][0])


def page(session: Session, after: int, limit: int) -> list[Seen]:
    """Incidents in the order they arrived, those after the given id."""
    rows = session.rows(
        "SELECT id, node_id, at_ms, received_ms, kind, detail FROM incident WHERE id > ? ORDER BY id LIMIT ?",
        (after, limit),
    )
    return [
        Seen(id=number, node=node, at_ms=at, received_ms=received, kind=kind, detail=detail)
        for number, node, at, received, kind, detail in rows
    ]
