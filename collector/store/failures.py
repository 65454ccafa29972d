"""Items that a node could not apply, with the reason in words."""

from collections.abc import Iterable

from collector.store.session import Session
from shared.messages import Applied
from shared.names import NodeId


def of_node(session: Session, node: NodeId) -> dict[str, str]:
    """What a node could not apply, by key."""
    return dict(session.rows("SELECT key, error FROM failure WHERE node_id = ?", (node,)))


def replace(session: Session, node: NodeId, items: Iterable[Applied]) -> None:
    """Keep the failed ones of these items and forget earlier failures of the others."""
    outcomes = list(items)
    session.run_many(
        "DELETE FROM failure WHERE node_id = ? AND key = ?", [(node, one.key) for one in outcomes]
    )
    session.run_many(
        "INSERT INTO failure (node_id, key, generation, error) VALUES (?, ?, ?, ?)",
        [(node, one.key, one.generation, one.error) for one in outcomes if one.error is not None],
    )
