"""Nodes, as admins see and change them (rows R1, R4)."""

import dataclasses

import msgspec

from collector.domain import nodes as rules
from collector.domain import pools, refusals
from collector.domain.access import Actor
from collector.domain.changes import Change
from collector.domain.events import Event
from collector.domain.leases import Bytes
from collector.domain.nodes import NewNode, Node, NodeChanges, NodeView
from collector.store import events, leases, managers, nodes
from collector.store.session import Session
from shared.names import NodeId


def create(session: Session, new: NewNode, actor: Actor, now_ms: int) -> Change[Node]:
    """Make a node that an agent can be enrolled as."""
    if fields := rules.wrong(new):
        raise refusals.invalid(fields)
    _require_free_name(session, new.name)
    node = nodes.insert(
        session,
        Node(
            id=NodeId(0),
            name=new.name,
            region=new.region,
            link_mbps=new.link_mbps,
            revoked=False,
            enrolled_ms=None,
            generation=0,
            acknowledged=0,
            created_ms=now_ms,
            last_seen_ms=None,
        ),
    )
    _note(session, node, "NODE_CREATED", actor, now_ms)
    return Change(node)


def one(session: Session, node: NodeId) -> NodeView:
    """A node with what its agent last said."""
    found = nodes.views(session, [node])
    if not found:
        raise refusals.not_found("node", node)
    return found[0]


def every(session: Session) -> list[NodeView]:
    """All nodes."""
    return nodes.views(session)


def find(session: Session, name: str) -> Node | None:
    """The node of this name."""
    return nodes.find(session, name=name)


def change(session: Session, node: NodeId, changes: NodeChanges, actor: Actor, now_ms: int) -> Change[Node]:
    """Change a node's fields."""
    found = _require(session, node)
    if fields := rules.wrong_changes(changes):
        raise refusals.invalid(fields)
    wanted = {
        name: value for name, value in msgspec.structs.asdict(changes).items() if value is not msgspec.UNSET
    }
    if wanted.get("name", found.name) != found.name:
        _require_free_name(session, wanted["name"])
    node_now = dataclasses.replace(found, **wanted)
    nodes.save(session, node_now)
    _note(session, node_now, "NODE_CHANGED", actor, now_ms)
    return Change(node_now)


def revoke(session: Session, node: NodeId, actor: Actor, now_ms: int) -> Change[Node]:
    """Void the node's credential, its tokens and its leases; its waiting poll must be woken.

    A revoked node serves nobody, so what it held of its users' limits is free for other nodes.
    """
    found = _require(session, node)
    nodes.revoke(session, node)
    freed = leases.free_node(session, node)
    managers.reserve(session, {number: pools.minus(Bytes(), held) for number, held in freed.items()})
    _note(session, found, "NODE_REVOKED", actor, now_ms)
    return Change(dataclasses.replace(found, revoked=True), frozenset({node}))


def _require(session: Session, node: NodeId) -> Node:
    found = nodes.find(session, node=node)
    if found is None:
        raise refusals.not_found("node", node)
    return found


def _require_free_name(session: Session, name: str) -> None:
    if nodes.find(session, name=name) is not None:
        raise refusals.conflict(f"there is a node named {name} already", {"name": "choose another name"})


def _note(session: Session, node: Node, kind: str, actor: Actor, now_ms: int) -> None:
    event = Event(
        at_ms=now_ms, actor=str(actor), kind=kind, subject=f"node:{node.id}", data={"name": node.name}
    )
    events.append(session, event)
