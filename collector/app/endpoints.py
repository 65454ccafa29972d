"""Endpoints of nodes (rows T1, R5)."""

from typing import Literal, cast

from collector.app import configs
from collector.domain import desired as items
from collector.domain import endpoints as rules
from collector.domain import refusals
from collector.domain.access import Actor
from collector.domain.changes import Change
from collector.domain.endpoints import Endpoint, NewEndpoint, Place
from collector.domain.events import Event, Kind, Subject, Thing
from collector.domain.payloads import EndpointFacts
from collector.store import endpoints, events, nodes, users
from collector.store.session import Session
from shared.names import EndpointId, NodeId


def create(session: Session, node: NodeId, new: NewEndpoint, actor: Actor, now_ms: int) -> Change[Endpoint]:
    """Add an endpoint to a node; its agent is told."""
    _require_node(session, node)
    if fields := rules.wrong(new):
        raise refusals.invalid(fields)
    if other := rules.clashing(new, endpoints.of_node(session, node)):
        fields = {"port": f"endpoint {other.id} ({other.name}) of this node listens there; choose another"}
        raise refusals.conflict("the port is taken", fields)
    endpoint = endpoints.insert(
        session,
        Endpoint(
            id=EndpointId(0),
            node=node,
            name=new.name,
            protocol=cast("Literal['vless']", new.protocol),
            listen=new.listen,
            port=new.port,
            factor_permille=new.factor_permille,
        ),
    )
    place, body = items.endpoint_item(endpoint)
    changed = configs.settle(session, None, {place: None}, {place: body})
    _note(session, endpoint, Kind.ENDPOINT_CREATED, actor, now_ms)
    return Change(endpoint, changed)


def of_node(session: Session, node: NodeId) -> list[Endpoint]:
    """The endpoints of a node."""
    _require_node(session, node)
    return endpoints.of_node(session, node)


def places(session: Session) -> list[Place]:
    """Every endpoint that users can be put on, without what concerns its node only."""
    return endpoints.places(session)


def remove(session: Session, endpoint: EndpointId, actor: Actor, now_ms: int) -> Change[None]:
    """Take an endpoint away; its accounts go with it."""
    found = endpoints.one(session, endpoint)
    if found is None:
        raise refusals.not_found("endpoint", endpoint)
    affected = users.among(session, endpoints.users_of(session, endpoint))
    endpoints.remove(session, endpoint, now_ms)
    changed = configs.refresh(session, affected.values())
    place, body = items.endpoint_item(found)
    changed |= configs.settle(session, None, {place: body}, {})
    _note(session, found, Kind.ENDPOINT_REMOVED, actor, now_ms)
    return Change(None, changed)


def _require_node(session: Session, node: NodeId) -> None:
    if nodes.find(session, node=node) is None:
        raise refusals.not_found("node", node)


def _note(session: Session, endpoint: Endpoint, kind: Kind, actor: Actor, now_ms: int) -> None:
    data = EndpointFacts(
        name=endpoint.name,
        node=endpoint.node,
        protocol=endpoint.protocol,
        listen=endpoint.listen,
        port=endpoint.port,
        factor_permille=endpoint.factor_permille,
    )
    subject = Subject(Thing.ENDPOINT, endpoint.id)
    events.append(session, Event(at_ms=now_ms, actor=actor, kind=kind, subject=subject, data=data))
