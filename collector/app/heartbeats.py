"""Heartbeats: how a node is, and what went wrong on it (rows R1, R5, T7).

What always holds: figures of every heartbeat replace the last ones; what is news of a node is an event, once.
"""

import msgspec

from collector.domain.access import Actor, Role
from collector.domain.changes import Change
from collector.domain.events import Event, Kind, Subject, Thing
from collector.domain.payloads import Data, IncidentSeen, NodeStatus
from collector.store import events, incidents, nodes
from collector.store.session import Session
from shared.messages import Heartbeat, HeartbeatAnswer
from shared.names import NodeId


def record(session: Session, node: NodeId, heartbeat: Heartbeat, now_ms: int) -> Change[HeartbeatAnswer]:
    """Keep a node's figures and its new incidents."""
    for one in incidents.append(session, node, heartbeat.incidents, now_ms):
        seen = IncidentSeen(number=one.number, what=one.kind)
        _note(session, node, Kind.NODE_INCIDENT, seen, now_ms)
    before = nodes.last_heartbeat(session, node)
    if before is None or _status(before) != _status(heartbeat):
        _note(session, node, Kind.NODE_STATUS, _status(heartbeat), now_ms)
    figures = msgspec.structs.replace(heartbeat, incidents=[])
    nodes.heard(session, node, now_ms, msgspec.json.encode(figures))
    return Change(HeartbeatAnswer(incidents_seen=incidents.highest(session, node)))


def _status(heartbeat: Heartbeat) -> NodeStatus:
    return NodeStatus(
        core_running=heartbeat.core_running,
        core_version=heartbeat.core_version,
        agent_version=heartbeat.agent_version,
        limitations=sorted(heartbeat.limitations),
    )


def _note(session: Session, node: NodeId, kind: Kind, data: Data, now_ms: int) -> None:
    actor, subject = Actor(Role.NODE, node), Subject(Thing.NODE, node)
    events.append(session, Event(at_ms=now_ms, actor=actor, kind=kind, subject=subject, data=data))
