"""Endpoints of nodes (rows T1, R5)."""

from collector.app import configs
from collector.app import wireguard as tunnels
from collector.domain import desired as items
from collector.domain import endpoints as rules
from collector.domain import events as happenings
from collector.domain import refusals, standing
from collector.domain.access import Actor
from collector.domain.changes import Change
from collector.domain.endpoints import Endpoint, EndpointChanges, NewEndpoint, Place
from collector.domain.events import Event, Kind, Subject, Thing
from collector.domain.payloads import Changed, Data, EndpointFacts, Pair
from collector.domain.wireguard import Terms
from collector.store import endpoints, events, nodes, users, wireguard
from collector.store.session import Session
from shared.names import EndpointId, NodeId

_UNSAID = Pair("not told", "not told")


def create(session: Session, node: NodeId, new: NewEndpoint, actor: Actor, now_ms: int) -> Change[Endpoint]:
    """Add an endpoint to a node; its agent is told. Every key it needs is there."""
    _require_node(session, node)
    if fields := rules.wrong(new):
        raise refusals.invalid(fields)
    wanted = rules.fresh(node, new)
    _require_room(session, wanted)
    endpoint = endpoints.insert(session, wanted)
    place, body = items.endpoint_item(endpoint)
    changed = configs.settle(session, None, {place: None}, {place: body})
    _note(session, endpoint, Kind.ENDPOINT_CREATED, EndpointFacts(**rules.facts(endpoint)), actor, now_ms)
    return Change(endpoint, changed)


def of_node(session: Session, node: NodeId) -> list[Endpoint]:
    """The endpoints of a node."""
    _require_node(session, node)
    return endpoints.of_node(session, node)


def one(session: Session, endpoint: EndpointId) -> Endpoint:
    """An endpoint."""
    found = endpoints.one(session, endpoint)
    if found is None:
        raise refusals.not_found("endpoint", endpoint)
    return found


def places(session: Session) -> list[Place]:
    """Every endpoint that users can be put on, without what concerns its node only."""
    return endpoints.places(session)


def change(
    session: Session,
    endpoint: EndpointId,
    changes: EndpointChanges,
    chance: bytes,
    actor: Actor,
    now_ms: int,
    terms: Terms = tunnels.TERMS,
) -> Change[Endpoint]:
    """Change an endpoint; its agent is told where that concerns it. Keys it lacks are made of `chance`.

    A higher factor voids the leases of its users, since they count bytes at the lower one.
    """
    before = one(session, endpoint)
    after = rules.changed(before, changes, chance)
    if fields := rules.wrong_changes(after, changes):
        raise refusals.invalid(fields)
    _require_room(session, after)
    endpoints.save(session, after)
    (place, old), (_, new) = items.endpoint_item(before), items.endpoint_item(after)
    changed = configs.settle(session, None, {place: old}, {place: new})
    changed |= configs.refresh(session, tunnels.refit(session, before, after, actor, now_ms, terms))
    if after.factor_permille > before.factor_permille:
        changed |= _void_leases(session, endpoint)
    _note(session, after, Kind.ENDPOINT_CHANGED, _changes(before, after), actor, now_ms)
    return Change(after, changed)


def remove(session: Session, endpoint: EndpointId, actor: Actor, now_ms: int) -> Change[None]:
    """Take an endpoint away; its accounts go with it."""
    found = one(session, endpoint)
    affected = users.among(session, endpoints.users_of(session, endpoint))
    endpoints.remove(session, endpoint, now_ms)
    wireguard.remove(session, endpoint)
    changed = configs.refresh(session, affected.values())
    place, body = items.endpoint_item(found)
    changed |= configs.settle(session, None, {place: body}, {})
    _note(session, found, Kind.ENDPOINT_REMOVED, EndpointFacts(**rules.facts(found)), actor, now_ms)
    return Change(None, changed)


def _require_node(session: Session, node: NodeId) -> None:
    if nodes.find(session, node=node) is None:
        raise refusals.not_found("node", node)


def _require_room(session: Session, endpoint: Endpoint) -> None:
    """Refuse what would take a port or a network away from another endpoint of the node."""
    existing = endpoints.of_node(session, endpoint.node)
    if other := rules.clashing(endpoint, existing):
        fields = {"port": f"endpoint {other.id} ({other.name}) of this node listens there; choose another"}
        raise refusals.conflict("the port is taken", fields)
    if other := rules.overlapping(endpoint, existing):
        sentence = f"endpoint {other.id} ({other.name}) of this node has some of them; choose other networks"
        raise refusals.conflict("the addresses are taken", {"options.addresses": sentence})


def _void_leases(session: Session, endpoint: EndpointId) -> frozenset[NodeId]:
    affected = users.among(session, endpoints.users_of(session, endpoint)).values()
    dearer = [standing.dearer(user) for user in affected if user.limited]
    users.pool(session, dearer)
    return configs.refresh(session, dearer)


def _changes(before: Endpoint, after: Endpoint) -> Changed:
    told = happenings.changes(rules.facts(before), rules.facts(after))
    differing = happenings.changes(rules.unsaid(before), rules.unsaid(after))
    return Changed(name=after.name, changes={**told, **dict.fromkeys(differing, _UNSAID)})


def _note(session: Session, endpoint: Endpoint, kind: Kind, data: Data, actor: Actor, now_ms: int) -> None:
    subject = Subject(Thing.ENDPOINT, endpoint.id)
    events.append(session, Event(at_ms=now_ms, actor=actor, kind=kind, subject=subject, data=data))
