"""How a node joins: a one-time token buys a credential, exactly once (rows R1, R5).

What always holds: tokens and secrets are kept as hashes; of any number of concurrent uses of a token exactly
one succeeds; a new credential voids the old one and every token given out under it.
"""

from collector.domain import refusals
from collector.domain.access import Actor, Role
from collector.domain.changes import Change
from collector.domain.events import Event, Kind, Subject, Thing
from collector.domain.nodes import Node
from collector.domain.payloads import Data, Enrolled, Minted
from collector.store import enrolments, events, nodes
from collector.store.session import Session
from shared.messages import Registration
from shared.names import NodeId

Credentials = nodes.Credentials
Standing = nodes.Standing


def mint(
    session: Session, node: NodeId, token_hash: bytes, expires_ms: int, actor: Actor, now_ms: int
) -> Change[None]:
    """Keep a new one-time token for a node; earlier unused ones are void."""
    found = nodes.find(session, node=node)
    if found is None:
        raise refusals.not_found("node", node)
    enrolments.insert(session, node, token_hash, expires_ms)
    minted = Minted(name=found.name, expires_ms=expires_ms)
    _note(session, node, Kind.ENROLMENT_MINTED, minted, actor, now_ms)
    return Change(None)


def redeem(
    session: Session,
    token_hash: bytes,
    client_id: str,
    secret_hash: bytes,
    registration: Registration,
    now_ms: int,
) -> Change[Node]:
    """Burn a token and give its node a new credential."""
    node = enrolments.use(session, token_hash, now_ms)
    if node is None:
        detail = "the enrolment token is unknown, used or expired; ask for a new one with `node enroll`"
        raise refusals.Refused(refusals.Kind.UNAUTHENTICATED, detail)
    nodes.enrolled(session, node, client_id, secret_hash, now_ms)
    joined = nodes.require(session, node)
    enrolled = Enrolled(name=joined.name, agent_version=registration.agent_version)
    _note(session, node, Kind.NODE_ENROLLED, enrolled, Actor(Role.NODE, node), now_ms)
    return Change(joined, frozenset({node}))


def credentials(session: Session, client_id: str) -> Credentials | None:
    """What the secret of this client is checked against."""
    return nodes.credentials(session, client_id)


def standing(session: Session, node: NodeId) -> Standing | None:
    """The credential number that a node's tokens must carry, and whether it is revoked."""
    return nodes.standing(session, node)


def _note(session: Session, node: NodeId, kind: Kind, data: Data, actor: Actor, now_ms: int) -> None:
    subject = Subject(Thing.NODE, node)
    events.append(session, Event(at_ms=now_ms, actor=actor, kind=kind, subject=subject, data=data))
