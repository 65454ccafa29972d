"""One-time tokens, as hashes."""

from collector.store.session import Session
from shared.names import NodeId


def insert(session: Session, node: NodeId, token_hash: bytes, expires_ms: int) -> None:
    """Keep a new token; earlier unused ones of the node are void, so that one line counts at a time."""
    session.run("DELETE FROM enrolment WHERE node_id = ? AND used_ms IS NULL", (node,))
    session.run(
        "INSERT INTO enrolment (token_hash, node_id, expires_ms) VALUES (?, ?, ?)",
        (token_hash, node, expires_ms),
    )


def use(session: Session, token_hash: bytes, now_ms: int) -> NodeId | None:
    """Burn a token; None when it is unknown, used or expired. One statement, so exactly one caller wins."""
    rows = session.rows(
        "UPDATE enrolment SET used_ms = ? WHERE token_hash = ? AND used_ms IS NULL AND expires_ms > ?"
        " RETURNING node_id",
        (now_ms, token_hash, now_ms),
    )
    return NodeId(rows[0][0]) if rows else None
