"""Nodes, as admins see and change them (rows R1, R4)."""

import dataclasses

from collector.app import history
from collector.domain import events as happenings
from collector.domain import nodes as rules
from collector.domain import pools, refusals
from collector.domain.access import SYSTEM, Actor
from collector.domain.changes import Change
from collector.domain.events import Event, Kind, Subject, Thing
from collector.domain.history import Amount
from collector.domain.leases import Bytes
from collector.domain.nodes import NewNode, Node, NodeChanges, NodeView
from collector.domain.payloads import Changed, Data, Freed, Named, NodeFacts, NodeReset
from collector.store import events, leases, managers, nodes
from collector.store.session import Session
from shared.names import NodeId


def create(session: Session, new: NewNode, actor: Actor, now_ms: int) -> Change[Node]:
    """Make a node that an agent can be enrolled as."""
    if fields := rules.wrong(new, rules.schedule_of(new)):
        raise refusals.invalid(fields)
    _require_free_name(session, new.name)
    node = nodes.insert(session, rules.fresh(new, now_ms))
    _note(session, node.id, Kind.NODE_CREATED, NodeFacts(**rules.facts(node)), actor, now_ms)
    return Change(node)


def one(session: Session, node: NodeId, now_ms: int) -> NodeView:
    """A node with what its agent last said and what was moved over it in its present period."""
    found = nodes.views(session, [node])
    if not found:
        raise refusals.not_found("node", node)
    used = history.period(session, node, found[0].period_start_ms, now_ms + 1)
    if used is None:
        return found[0]
    return dataclasses.replace(found[0], used_up=used.up, used_down=used.down)


def due(session: Session, now_ms: int) -> list[tuple[Node, Amount | None]]:
    """Nodes whose period has ended, with what was moved over each in it; None where that is unknown."""
    ended = [(node, rules.turned(node, now_ms).period_start_ms) for node in nodes.due(session, now_ms)]
    return [(node, history.period(session, node.id, node.period_start_ms, end_ms)) for node, end_ms in ended]


def turn(session: Session, ended: Node, moved: Amount | None, now_ms: int) -> None:
    """Begin the next period of a node; one in which nothing was moved leaves nothing to say."""
    node = _require(session, ended.id)
    if (node.schedule, node.period_start_ms) != (ended.schedule, ended.period_start_ms):
        return
    after = rules.turned(node, now_ms)
    nodes.begin_period(session, after)
    if moved is None or any(moved):
        figures = dict.fromkeys(Amount._fields) if moved is None else moved._asdict()
        told = NodeReset(
            name=after.name,
            **{f"{way}_bytes": moved_bytes for way, moved_bytes in figures.items()},
            period_start_ms=node.period_start_ms,
            next_start_ms=after.period_start_ms,
        )
        _note(session, node.id, Kind.NODE_RESET, told, SYSTEM, now_ms)


def every(session: Session) -> list[NodeView]:
    """All nodes."""
    return nodes.views(session)


def find(session: Session, name: str) -> Node | None:
    """The node of this name."""
    return nodes.find(session, name=name)


def change(session: Session, node: NodeId, changes: NodeChanges, actor: Actor, now_ms: int) -> Change[Node]:
    """Change a node's fields."""
    found = _require(session, node)
    if fields := rules.wrong(changes, rules.schedule_after(found.schedule, changes)):
        raise refusals.invalid(fields)
    node_now = rules.changed(found, changes, now_ms)
    if node_now.name != found.name:
        _require_free_name(session, node_now.name)
    nodes.save(session, node_now)
    differing = happenings.changes(rules.facts(found), rules.facts(node_now))
    _note(session, node, Kind.NODE_CHANGED, Changed(name=node_now.name, changes=differing), actor, now_ms)
    return Change(node_now)


def revoke(session: Session, node: NodeId, actor: Actor, now_ms: int) -> Change[Node]:
    """Void the node's credential, its tokens and its leases; its waiting poll must be woken.

    A revoked node serves nobody, so what it held of its users' limits is free for other nodes.
    """
    found = _require(session, node)
    nodes.revoke(session, node)
    _note(session, node, Kind.NODE_REVOKED, Named(name=found.name), actor, now_ms)
    count, freed = leases.free_node(session, node)
    managers.reserve(session, {number: pools.minus(Bytes(), held) for number, held in freed.items()})
    if count:
        _note(session, node, Kind.LEASES_FREED, Freed(leases=count), actor, now_ms)
    return Change(dataclasses.replace(found, revoked=True), frozenset({node}))


def _require(session: Session, node: NodeId) -> Node:
    found = nodes.find(session, node=node)
    if found is None:
        raise refusals.not_found("node", node)
    return found


def _require_free_name(session: Session, name: str) -> None:
    if nodes.find(session, name=name) is not None:
        raise refusals.conflict(f"there is a node named {name} already", {"name": "choose another name"})


def _note(session: Session, node: NodeId, kind: Kind, data: Data, actor: Actor, now_ms: int) -> None:
    subject = Subject(Thing.NODE, node)
    events.append(session, Event(at_ms=now_ms, actor=actor, kind=kind, subject=subject, data=data))
