"""Desired state by node: items, generations, tombstones."""

from collections.abc import Iterable

from collector.domain.desired import Difference, Place
from collector.store.session import Session
from shared.names import NodeId, UserId


def of_user(session: Session, user: UserId) -> dict[Place, bytes | None]:
    """All items of one user's accounts, tombstones included."""
    rows = session.rows("SELECT node_id, key, body FROM desired WHERE user_id = ?", (user,))
    return {Place(NodeId(node), key): _bytes(body) for node, key, body in rows}


def apply(session: Session, user: UserId | None, differences: Iterable[Difference]) -> frozenset[NodeId]:
    """Store the differences, each node's under one new generation; returns the nodes that moved on."""
    changed = list(differences)
    nodes = frozenset(one.place.node for one in changed)
    generations = {node: _next_generation(session, node) for node in nodes}
    session.insert_many(
        "desired",
        ("node_id", "key", "generation", "user_id", "body"),
        [(one.place.node, one.place.key, generations[one.place.node], user, one.body) for one in changed],
        "ON CONFLICT (node_id, key) DO UPDATE SET generation = excluded.generation, body = excluded.body",
    )
    return nodes


def since(session: Session, node: NodeId, generation: int) -> list[tuple[str, int, bytes | None]]:
    """Items changed after a generation, tombstones included."""
    rows = session.rows(
        "SELECT key, generation, body FROM desired WHERE node_id = ? AND generation > ?"
        " ORDER BY generation, key",
        (node, generation),
    )
    return [(key, changed, _bytes(body)) for key, changed, body in rows]


def everything(session: Session, node: NodeId) -> list[tuple[str, int, bytes | None]]:
    """All items that the node ought to have."""
    rows = session.rows(
        "SELECT key, generation, body FROM desired WHERE node_id = ? AND body IS NOT NULL"
        " ORDER BY generation, key",
        (node,),
    )
    return [(key, changed, _bytes(body)) for key, changed, body in rows]


def forget_tombstones(session: Session, node: NodeId, acknowledged: int) -> None:
    """Drop what the node has removed already; older agents will get the full state instead."""
    gone = session.run(
        "DELETE FROM desired WHERE node_id = ? AND generation <= ? AND body IS NULL", (node, acknowledged)
    )
    if gone:
        session.run(
            "UPDATE node SET horizon = ? WHERE id = ? AND horizon < ?", (acknowledged, node, acknowledged)
        )


def _next_generation(session: Session, node: NodeId) -> int:
    rows = session.rows(
        "UPDATE node SET generation = generation + 1 WHERE id = ? RETURNING generation", (node,)
    )
    return int(rows[0][0])


def _bytes(body: bytes | memoryview | None) -> bytes | None:
    return None if body is None else bytes(body)
