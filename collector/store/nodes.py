"""Nodes, their credentials and what they last said."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from collector.domain.nodes import Node, NodeView
from collector.domain.resets import Mode, Schedule
from collector.store import ids
from collector.store.session import Session
from shared.messages import Heartbeat
from shared.names import NodeId

_SELECT = """
    SELECT id, name, region, link_mbps, revoked, enrolled_ms, generation, acknowledged, created_ms,
           last_seen_ms, reset, zone, reset_day, reset_month, period_start_ms, due_ms, learning_ms
    FROM node
"""
_MODES = {mode.value: mode for mode in Mode}


@dataclass(frozen=True)
class Credentials:
    """What a node's secret is checked against."""

    node: NodeId
    secret_hash: bytes
    revoked: bool


@dataclass(frozen=True)
class Standing:
    """Whether tokens given out under this credential number still count."""

    credential: int
    revoked: bool


def insert(session: Session, node: Node) -> Node:
    """Store a new node; returns it with its id."""
    rows = session.rows(
        "INSERT INTO node (id, created_ms, name, region, link_mbps, reset, zone, reset_day, reset_month,"
        " period_start_ms, due_ms, credential, revoked, generation, acknowledged, horizon)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, FALSE, 0, 0, 0) RETURNING id",
        (ids.following(session, "node"), node.created_ms, *_changeable(node)),
    )
    return require(session, NodeId(rows[0][0]))


def find(session: Session, *, node: NodeId | None = None, name: str | None = None) -> Node | None:
    """A node by its id or its name."""
    rows = session.rows(_SELECT + " WHERE id = ? OR name = ?", (node, name))
    return _node(rows[0]) if rows else None


def require(session: Session, node: NodeId) -> Node:
    """A node that must exist."""
    found = find(session, node=node)
    if found is None:
        raise LookupError(f"node {node} vanished within a transaction")
    return found


def save(session: Session, node: Node) -> None:
    """Store what an admin may change, and the node's period."""
    session.hot.forget_node(node.id)
    session.run(
        "UPDATE node SET name = ?, region = ?, link_mbps = ?, reset = ?, zone = ?, reset_day = ?,"
        " reset_month = ?, period_start_ms = ?, due_ms = ? WHERE id = ?",
        (*_changeable(node), node.id),
    )


def begin_period(session: Session, node: Node) -> None:
    """Store the node's period alone: nothing of it concerns what is charged."""
    session.run(
        "UPDATE node SET period_start_ms = ?, due_ms = ? WHERE id = ?",
        (node.period_start_ms, node.due_ms, node.id),
    )


def due(session: Session, now_ms: int) -> list[Node]:
    """Nodes whose period has ended by now."""
    return [_node(row) for row in session.rows(_SELECT + " WHERE due_ms <= ? ORDER BY id", (now_ms,))]


def zones(session: Session) -> list[str]:
    """The zones that nodes have."""
    return [zone for (zone,) in session.rows("SELECT DISTINCT zone FROM node ORDER BY zone")]


def names(session: Session, wanted: Iterable[int]) -> dict[int, str]:
    """The names of these nodes."""
    sql = f"SELECT n.id, n.name FROM {session.wanted} JOIN node AS n ON n.id = wanted.value"
    return {row[0]: row[1] for row in session.rows(sql, (session.numbers(wanted),))}


def views(session: Session, nodes: Iterable[NodeId] | None = None) -> list[NodeView]:
    """Nodes with what their agents last said, all of them or some."""
    failures: dict[int, dict[str, str]] = {}
    for node, key, error in session.rows("SELECT node_id, key, error FROM failure"):
        failures.setdefault(node, {})[key] = error
    wanted = None if nodes is None else set(nodes)
    rows = session.rows(_SELECT.replace("FROM", ", heartbeat FROM") + " ORDER BY id")
    return [
        _view(_node(row[:-1]), row[-1], failures.get(row[0], {}))
        for row in rows
        if wanted is None or row[0] in wanted
    ]


def enrolled(session: Session, node: NodeId, client_id: str, secret_hash: bytes, now_ms: int) -> None:
    """Give a node a new credential; earlier ones and their tokens are void."""
    session.run(
        "UPDATE node SET client_id = ?, secret_hash = ?, enrolled_ms = COALESCE(enrolled_ms, ?),"
        " credential = credential + 1, revoked = FALSE WHERE id = ?",
        (client_id, secret_hash, now_ms, node),
    )


def revoke(session: Session, node: NodeId) -> None:
    """Void a node's credential and its tokens, and ask it nothing any more."""
    session.run(
        "UPDATE node SET revoked = TRUE, credential = credential + 1, learning_ms = NULL WHERE id = ?",
        (node,),
    )


def credentials(session: Session, client_id: str) -> Credentials | None:
    """What the secret of this client is checked against."""
    rows = session.rows("SELECT id, secret_hash, revoked FROM node WHERE client_id = ?", (client_id,))
    return Credentials(rows[0][0], bytes(rows[0][1]), bool(rows[0][2])) if rows else None


def standing(session: Session, node: NodeId) -> Standing | None:
    """The credential number that counts now."""
    rows = session.rows("SELECT credential, revoked FROM node WHERE id = ?", (node,))
    return Standing(rows[0][0], bool(rows[0][1])) if rows else None


def last_heartbeat(session: Session, node: NodeId) -> Heartbeat | None:
    """What a node said last."""
    rows = session.rows("SELECT heartbeat FROM node WHERE id = ? AND heartbeat IS NOT NULL", (node,))
    return msgspec.json.decode(bytes(rows[0][0]), type=Heartbeat) if rows else None


def heard(session: Session, node: NodeId, now_ms: int, heartbeat: bytes) -> None:
    """Keep a node's last heartbeat."""
    session.run("UPDATE node SET last_seen_ms = ?, heartbeat = ? WHERE id = ?", (now_ms, heartbeat, node))


def acknowledge(session: Session, node: NodeId, generation: int) -> None:
    """Note the generation a node has applied."""
    session.run("UPDATE node SET acknowledged = ? WHERE id = ?", (generation, node))


def horizon(session: Session, node: NodeId) -> int:
    """The newest generation whose tombstones are gone."""
    return int(session.rows("SELECT horizon FROM node WHERE id = ?", (node,))[0][0])


def _changeable(node: Node) -> tuple[object, ...]:
    schedule = node.schedule
    return (
        *(node.name, node.region, node.link_mbps),
        *(schedule.mode.value, schedule.zone, schedule.day, schedule.month),
        *(node.period_start_ms, node.due_ms),
    )


def _node(row: tuple[Any, ...]) -> Node:
    number, name, region, link, revoked, enrolled_ms, generation, acknowledged, created, seen = row[:10]
    mode, zone, day, month, period_start_ms, due_ms, learning_ms = row[10:]
    return Node(
        id=number,
        name=name,
        region=region,
        link_mbps=link,
        revoked=bool(revoked),
        enrolled_ms=enrolled_ms,
        generation=generation,
        acknowledged=acknowledged,
        created_ms=created,
        last_seen_ms=seen,
        schedule=Schedule(mode=_MODES[mode], zone=zone, day=day, month=month),
        period_start_ms=period_start_ms,
        due_ms=due_ms,
        learning_ms=learning_ms,
    )


def _view(node: Node, heartbeat: bytes | None, failures: dict[str, str]) -> NodeView:
    last = None if heartbeat is None else msgspec.json.decode(heartbeat, type=Heartbeat)
    return NodeView(
        id=node.id,
        name=node.name,
        region=node.region,
        link_mbps=node.link_mbps,
        revoked=node.revoked,
        enrolled=node.enrolled_ms is not None,
        generation=node.generation,
        acknowledged=node.acknowledged,
        last_seen_ms=node.last_seen_ms,
        cpu_percent=last.cpu_percent if last else None,
        memory_percent=last.memory_percent if last else None,
        bandwidth_in_bps=last.bandwidth_in_bps if last else None,
        bandwidth_out_bps=last.bandwidth_out_bps if last else None,
        latency_ms=last.latency_ms if last else None,
        core_running=last.core_running if last else None,
        core_version=last.core_version if last else None,
        agent_version=last.agent_version if last else None,
        limitations=list(last.limitations) if last else [],
        failures=failures,
        reset=node.schedule.mode,
        reset_day=node.schedule.day,
        reset_month=node.schedule.month,
        zone=node.schedule.zone,
        period_start_ms=node.period_start_ms,
        next_reset_ms=node.due_ms,
        learning_ms=node.learning_ms,
    )
