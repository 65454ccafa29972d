"""Which nodes are asked what they hold, and of whom that is not known."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from collector.domain.lane import Source
from collector.store.session import Session
from shared.names import ManagerId, NodeId, UserId

_SUSPECTED = "learning"
#: Everybody above whoever is or was placed on a node.
_ABOVE = (
    "INSERT INTO unlearned (node_id, manager_id) WITH RECURSIVE line(node_id, id) AS ("
    'SELECT DISTINCT e.node_id, u.manager_id FROM endpoint AS e JOIN "placing" AS p ON p.endpoint_id = e.id'
    ' JOIN "user" AS u ON u.id = p.user_id WHERE u.manager_id IS NOT NULL{}'
    " UNION SELECT line.node_id, m.parent_id FROM line JOIN manager AS m ON m.id = line.id"
    " WHERE m.parent_id IS NOT NULL) SELECT node_id, id FROM line WHERE TRUE ON CONFLICT DO NOTHING"
)


def suspected(session: Session) -> bool:
    """Whether all nodes have been asked since the start."""
    rows = session.rows("SELECT value FROM fact WHERE name = ?", (_SUSPECTED,))
    return bool(rows and rows[0][0])


def note(session: Session, *, suspected: bool) -> None:
    """Keep whether all nodes have been asked since the start."""
    session.run(
        "INSERT INTO fact (name, value) VALUES (?, ?)"
        " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (_SUSPECTED, int(suspected)),
    )


def ask(session: Session, node: NodeId | None, question_ms: int) -> None:
    """Ask a node what it holds, or all of them; one that was never enrolled or is revoked holds nothing."""
    # Sources are remembered with the question.
    session.hot.forget_all()
    of_node, parameters = ("", ()) if node is None else (" AND {} = ?", (node,))
    session.run(
        "UPDATE node SET learning_ms = ? WHERE enrolled_ms IS NOT NULL AND revoked = ?"
        + of_node.format("id"),
        (question_ms, False, *parameters),
    )
    session.run(_ABOVE.format(of_node.format("e.node_id")), parameters)


def renew(session: Session, source: Source, question_ms: int) -> None:
    """Put the question to a node again."""
    session.hot.forget_node(NodeId(source.node))
    session.run("UPDATE node SET learning_ms = ? WHERE id = ?", (question_ms, source.node))
    source.learning_ms = question_ms


def learned(session: Session, source: Source, serial: int) -> None:
    """A node has answered: what it holds is known, up to this serial."""
    # Other ledgers of this node are remembered with the question.
    session.hot.forget_node(NodeId(source.node))
    session.run("UPDATE node SET learning_ms = NULL WHERE id = ?", (source.node,))
    session.run("DELETE FROM unlearned WHERE node_id = ?", (source.node,))
    session.run("UPDATE ledger SET serial = ? WHERE id = ?", (serial, source.number))
    source.learning_ms, source.serial = None, serial


def asked(session: Session, since_ms: int) -> bool:
    """Whether any node was asked after this moment and has not answered."""
    return bool(session.rows("SELECT 1 FROM node WHERE learning_ms > ? LIMIT 1", (since_ms,)))


def waiting(session: Session, sharing: Mapping[UserId, AbstractSet[ManagerId]], since_ms: int) -> set[UserId]:
    """Those of these users of whom a node that was asked after this moment may hold what is not known.

    They come with the managers whose limits they share: what it holds of others below those counts, too.
    """
    users = session.rows(
        f'SELECT DISTINCT p.user_id FROM {session.wanted} JOIN "placing" AS p ON p.user_id = wanted.value'
        " JOIN endpoint AS e ON e.id = p.endpoint_id JOIN node AS n ON n.id = e.node_id"
        " WHERE n.learning_ms > ?",
        (session.numbers(sharing), since_ms),
    )
    managers = session.rows(
        f"SELECT DISTINCT s.manager_id FROM {session.wanted} JOIN unlearned AS s"
        " ON s.manager_id = wanted.value JOIN node AS n ON n.id = s.node_id WHERE n.learning_ms > ?",
        (session.numbers(set().union(*sharing.values())), since_ms),
    )
    unknown = {manager for (manager,) in managers}
    return {user for (user,) in users} | {user for user, shared in sharing.items() if shared & unknown}
