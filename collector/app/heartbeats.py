"""Heartbeats: how a node is, and what went wrong on it (rows R1, R5)."""

import msgspec

from collector.domain.changes import Change
from collector.store import incidents, nodes
from collector.store.session import Session
from shared.messages import Heartbeat, HeartbeatAnswer
from shared.names import NodeId


def record(session: Session, node: NodeId, heartbeat: Heartbeat, now_ms: int) -> Change[HeartbeatAnswer]:
    """Keep a node's figures and its new incidents."""
    incidents.append(session, node, heartbeat.incidents, now_ms)
    figures = msgspec.structs.replace(heartbeat, incidents=[])
    nodes.heard(session, node, now_ms, msgspec.json.encode(figures))
    return Change(HeartbeatAnswer(incidents_seen=incidents.highest(session, node)))
