"""Endpoints and who is assigned to them."""

from collections.abc import Iterable
from typing import Any

import msgspec

from collector.domain.endpoints import Endpoint, Place
from collector.domain.metering import Key
from collector.domain.passage import Extra
from collector.store import ids
from collector.store.session import Session
from shared.endpoints import Options, Plain, Security, Tcp, Transport
from shared.names import EndpointId, NodeId, UserId

_COLUMNS = "id, node_id, name, protocol, listen, port, factor_permille, host, settings"
_SELECT = f"SELECT {_COLUMNS} FROM endpoint"


class _Settings(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    transport: Transport = Tcp()
    security: Security = Plain()
    options: Options | None = None
    extra: Extra | None = None


_USUAL = _Settings()


def insert(session: Session, endpoint: Endpoint) -> Endpoint:
    """Store a new endpoint; returns it with its id."""
    session.hot.forget_node(endpoint.node)
    rows = session.rows(
        f"INSERT INTO endpoint ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING {_COLUMNS}",
        (
            *(ids.following(session, "endpoint"), endpoint.node, endpoint.name, endpoint.protocol),
            *(endpoint.listen, endpoint.port, endpoint.factor_permille, endpoint.host),
            _kept(endpoint),
        ),
    )
    return _endpoint(rows[0])


def save(session: Session, endpoint: Endpoint) -> None:
    """Store what may change of an endpoint: everything but its node and protocol."""
    session.hot.forget_node(endpoint.node)
    session.run(
        "UPDATE endpoint SET name = ?, listen = ?, port = ?, factor_permille = ?, host = ?, settings = ?"
        " WHERE id = ?",
        (
            *(endpoint.name, endpoint.listen, endpoint.port, endpoint.factor_permille, endpoint.host),
            *(_kept(endpoint), endpoint.id),
        ),
    )


def one(session: Session, endpoint: EndpointId) -> Endpoint | None:
    """An endpoint that is not removed."""
    rows = session.rows(_SELECT + " WHERE id = ? AND removed_ms IS NULL", (endpoint,))
    return _endpoint(rows[0]) if rows else None


def places(session: Session) -> list[Place]:
    """Endpoints that are not removed, with what their nodes are called."""
    rows = session.rows(
        "SELECT e.id, e.name, e.protocol, e.factor_permille, n.name, n.region FROM endpoint AS e"
        " JOIN node AS n ON n.id = e.node_id WHERE e.removed_ms IS NULL ORDER BY e.id"
    )
    return [
        Place(id=number, name=name, protocol=protocol, factor_permille=factor, node=node, region=region)
        for number, name, protocol, factor, node, region in rows
    ]


def of_node(session: Session, node: NodeId) -> list[Endpoint]:
    """The endpoints of a node."""
    return _all(session, " WHERE node_id = ? AND removed_ms IS NULL ORDER BY id", (node,))


def factors(session: Session, node: NodeId) -> dict[EndpointId, int]:
    """Traffic factors of every endpoint the node has ever had: late reports may name one that is gone."""
    rows = session.rows("SELECT id, factor_permille FROM endpoint WHERE node_id = ?", (node,))
    return {EndpointId(endpoint): factor for endpoint, factor in rows}


def owners(session: Session) -> dict[EndpointId, NodeId]:
    """Of every endpoint there has ever been, its node."""
    return {EndpointId(one): NodeId(node) for one, node in session.rows("SELECT id, node_id FROM endpoint")}


def names(session: Session, wanted: Iterable[int]) -> dict[int, str]:
    """The names of these endpoints, removed ones included."""
    sql = f"SELECT e.id, e.name FROM {session.wanted} JOIN endpoint AS e ON e.id = wanted.value"
    return {row[0]: row[1] for row in session.rows(sql, (session.numbers(wanted),))}


def of_user(session: Session, user: UserId) -> list[Endpoint]:
    """The endpoints a user is assigned to."""
    where = " WHERE removed_ms IS NULL AND id IN (SELECT endpoint_id FROM assignment WHERE user_id = ?)"
    return _all(session, where + " ORDER BY id", (user,))


def users_of(session: Session, endpoint: EndpointId) -> list[UserId]:
    """The users assigned to an endpoint."""
    rows = session.rows("SELECT user_id FROM assignment WHERE endpoint_id = ? ORDER BY user_id", (endpoint,))
    return [row[0] for row in rows]


def remove(session: Session, endpoint: EndpointId, now_ms: int) -> None:
    """Mark an endpoint as removed and drop its assignments."""
    session.hot.forget(users_of(session, endpoint))
    session.run("UPDATE endpoint SET removed_ms = ? WHERE id = ?", (now_ms, endpoint))
    session.run("DELETE FROM assignment WHERE endpoint_id = ?", (endpoint,))


def assign(session: Session, user: UserId, endpoints: Iterable[EndpointId]) -> None:
    """Put a user on exactly these endpoints."""
    session.hot.forget([user])
    pairs = [(user, one) for one in sorted(set(endpoints))]
    session.run("DELETE FROM assignment WHERE user_id = ?", (user,))
    session.insert_many("assignment", ("user_id", "endpoint_id"), pairs)
    session.insert_many('"placing"', ("user_id", "endpoint_id"), pairs, "ON CONFLICT DO NOTHING")


def placed(session: Session, users: Iterable[UserId]) -> set[Key]:
    """On which endpoints these users are placed, or once were."""
    rows = session.rows(
        f"SELECT p.user_id, p.endpoint_id FROM {session.wanted}"
        ' JOIN "placing" AS p ON p.user_id = wanted.value',
        (session.numbers(users),),
    )
    return {Key(UserId(user), EndpointId(endpoint)) for user, endpoint in rows}


def _all(session: Session, where: str, parameters: tuple[int, ...]) -> list[Endpoint]:
    return [_endpoint(row) for row in session.rows(_SELECT + where, parameters)]


def _endpoint(row: tuple[Any, ...]) -> Endpoint:
    number, node, name, protocol, listen, port, factor, host, kept = row
    settings = _USUAL if kept is None else msgspec.json.decode(kept, type=_Settings)
    return Endpoint(
        id=number,
        node=node,
        name=name,
        protocol=protocol,
        listen=listen,
        port=port,
        factor_permille=factor,
        host=host,
        transport=settings.transport,
        security=settings.security,
        options=settings.options,
        extra=settings.extra,
    )


def _kept(endpoint: Endpoint) -> str | None:
    settings = _Settings(
        transport=endpoint.transport,
        security=endpoint.security,
        options=endpoint.options,
        extra=endpoint.extra,
    )
    return None if settings == _USUAL else msgspec.json.encode(settings).decode()
