"""What sessions are judged by, and when users were connected first and last."""

import json
from collections.abc import Iterable

from collector.domain.sessions import Rules
from collector.store.session import Session
from shared.names import EndpointId, NodeId, UserId

# A list is asked for by IN: joined, SQLite goes through all of it for each user of a node (1.1 s instead of
# 2 ms for 2,000 of 10,000).


def placed(session: Session, node: NodeId, users: Iterable[UserId]) -> list[tuple[UserId, EndpointId]]:
    """On which endpoints of a node these users are placed."""
    rows = session.rows(
        "SELECT a.user_id, a.endpoint_id FROM assignment AS a"
        " JOIN endpoint AS e ON e.id = a.endpoint_id"
        f" WHERE a.user_id IN (SELECT value FROM {session.wanted})"
        " AND e.node_id = ? AND e.removed_ms IS NULL",
        (session.numbers(users), node),
    )
    return [(UserId(user), EndpointId(endpoint)) for user, endpoint in rows]


def nodes(session: Session, users: Iterable[UserId]) -> frozenset[NodeId]:
    """The nodes that any of these users is placed on."""
    rows = session.rows(
        "SELECT DISTINCT e.node_id FROM assignment AS a"
        " JOIN endpoint AS e ON e.id = a.endpoint_id"
        f" WHERE a.user_id IN (SELECT value FROM {session.wanted})",
        (session.numbers(users),),
    )
    return frozenset(NodeId(node) for (node,) in rows)


def rules(session: Session, users: Iterable[UserId]) -> list[Rules]:
    """The rules of those of these users who have any."""
    rows = session.rows(
        'SELECT id, max_concurrent, allowed_devices FROM "user"'
        f" WHERE id IN (SELECT value FROM {session.wanted})"
        " AND (max_concurrent IS NOT NULL OR allowed_devices IS NOT NULL) AND removed_ms IS NULL",
        (session.numbers(users),),
    )
    return [
        Rules(user=user, max_concurrent=limit, allowed_devices=devices_of(text)) for user, limit, text in rows
    ]


def note_connected(session: Session, moments: Iterable[tuple[UserId, int]]) -> None:
    """Users were connected at these moments, in ms since the epoch and in their order."""
    session.run_many(
        'UPDATE "user" SET first_connected_ms = COALESCE(first_connected_ms, ?), last_connected_ms = ?'
        " WHERE id = ?",
        [(at_ms, at_ms, user) for user, at_ms in moments],
    )


def devices_of(text: str | None) -> tuple[str, ...]:
    """The devices as they are kept."""
    return () if text is None else tuple(json.loads(text))


def kept_devices(devices: Iterable[str]) -> str | None:
    """How devices are kept; none are not."""
    listed = list(devices)
    return json.dumps(listed) if listed else None
