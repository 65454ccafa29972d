"""Desired state of nodes: kept up to date here, asked for and acknowledged by agents (rows R1, R5)."""

from collections.abc import Iterable, Mapping

import msgspec

from collector.domain import desired as items
from collector.domain import refusals
from collector.domain import wireguard as rules
from collector.domain.access import Actor, Role
from collector.domain.changes import Change
from collector.domain.desired import Place
from collector.domain.endpoints import Endpoint
from collector.domain.events import Event, Kind, Subject, Thing
from collector.domain.payloads import Data, ItemsApplied, ItemsFailed
from collector.domain.users import User
from collector.store import desired, endpoints, events, failures, leases, nodes, wireguard
from collector.store.session import Session
from shared import messages
from shared.messages import DesiredState, Item, SyncReport
from shared.names import NodeId, UserId


def refresh(session: Session, users: Iterable[User]) -> frozenset[NodeId]:
    """Make the account items of these users what they ought to be; returns the nodes that moved on."""
    changed: frozenset[NodeId] = frozenset()
    for user in users:
        placed = endpoints.of_user(session, user.id)
        wanted = items.accounts(user, placed, _peers(session, user, placed))
        changed |= settle(session, user.id, desired.of_user(session, user.id), wanted)
    return changed


def settle(
    session: Session,
    user: UserId | None,
    existing: Mapping[Place, bytes | None],
    wanted: Mapping[Place, bytes],
) -> frozenset[NodeId]:
    """Store what differs; returns the nodes that moved on."""
    return desired.apply(session, user, items.differences(existing, wanted))


def _peers(session: Session, user: User, placed: Iterable[Endpoint]) -> items.Peers:
    """A user as his WireGuard endpoints know him; whoever has none is not looked for."""
    if not any(one.protocol in items.PEERED for one in placed):
        return {}
    known = wireguard.of_user(session, user.id)
    return {(user.id, endpoint): rules.item(peer) for endpoint, peer in known.items()}


def generation(session: Session, node: NodeId) -> int:
    """The newest generation of a node's desired state."""
    return nodes.require(session, node).generation


def difference(session: Session, node: NodeId, since: int) -> DesiredState:
    """Items changed after `since`; the full state where that cannot be told.

    An agent that is ahead has seen a database that was since restored from a backup: it gets the full state.
    """
    now = generation(session, node)
    full = since <= 0 or since > now or since < nodes.horizon(session, node)
    rows = desired.everything(session, node) if full else desired.since(session, node, since)
    items = [_item(*row) for row in rows]
    return DesiredState(generation=now, full=full, items=items, recalled=leases.recalled(session, node))


def acknowledge(session: Session, node: NodeId, sync: SyncReport, now_ms: int) -> Change[None]:
    """Note what a node has applied and what it could not; of one item named twice the last outcome counts."""
    if sync.generation > generation(session, node):
        raise refusals.conflict("this generation was never given out; ask for the full configuration")
    known = failures.of_node(session, node)
    outcomes = list({one.key: one for one in sync.items}.values())
    failures.replace(session, node, outcomes)
    new = {one.key: one.error for one in outcomes if one.error and known.get(one.key) != one.error}
    if new:
        failed = ItemsFailed(generation=sync.generation, failures=new)
        _note(session, node, Kind.NODE_ITEMS_FAILED, failed, now_ms)
    if over := [one.key for one in outcomes if one.error is None and one.key in known]:
        applied = ItemsApplied(generation=sync.generation, keys=over)
        _note(session, node, Kind.NODE_ITEMS_APPLIED, applied, now_ms)
    nodes.acknowledge(session, node, sync.generation)
    desired.forget_tombstones(session, node, sync.generation)
    return Change(None)


def _note(session: Session, node: NodeId, kind: Kind, data: Data, now_ms: int) -> None:
    actor, subject = Actor(Role.NODE, node), Subject(Thing.NODE, node)
    events.append(session, Event(at_ms=now_ms, actor=actor, kind=kind, subject=subject, data=data))


def _item(key: str, changed: int, body: bytes | None) -> Item:
    decoded = None if body is None else msgspec.json.decode(body, type=messages.Endpoint | messages.Account)
    return Item(key=key, generation=changed, body=decoded)
