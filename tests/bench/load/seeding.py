"""Fills a database with a fleet before the collector serves from it, faster than its API could.

What always holds: managers, nodes, endpoints and the first user of each kind are made by the functions behind
the API; every other user is a copy of the rows that these have left, under his own number, name, UUID and
places. A test holds that the database is then the same, table by table, as if the API had made them all.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec import structs

from collector import passwords
from collector.app import endpoints, enrolment, managers, nodes, users
from collector.domain import desired
from collector.domain import users as people
from collector.domain.access import SYSTEM
from collector.domain.endpoints import Endpoint, NewEndpoint
from collector.domain.events import COLLECTOR, Event, Kind
from collector.domain.managers import NewManager
from collector.domain.nodes import NewNode
from collector.domain.payloads import Data
from collector.domain.users import NewUser, User
from collector.store import endpoints as places
from collector.store import events, tables
from collector.store.session import Session
from shared.messages import Registration
from shared.names import ManagerId, NodeId, UserId
from tests.bench.load import shape as shapes
from tests.bench.load.shape import Shape
from tests.kit.stores import Store

_USERS_A_COMMIT = 5_000
_NODES_A_COMMIT = 100
_PORT = 443
_TOKEN_LIFE_MS = 60_000

Row = dict[str, Any]


def fill(
    store: Store,
    shape: Shape,
    now_ms: int,
    *,
    said: Callable[[str], None] = lambda _: None,
    copying: bool = True,
) -> None:
    """Make the nodes, endpoints and users of this shape in a database."""
    with contextlib.closing(store.open()) as data:
        data.write_now(_managers, shape, now_ms)
        for some in _parts(range(1, shape.nodes + 1), _NODES_A_COMMIT):
            data.write_now(_nodes, some, now_ms)
        copies = _Copies(shape=shape, copying=copying)
        for some in _parts(range(1, shape.users + 1), _USERS_A_COMMIT):
            data.write_now(copies.make, some, now_ms)
            if some[-1] % max(_USERS_A_COMMIT, shape.users // 4) == 0:
                said(f"{some[-1]:,} users made")


def note(store: Store, now_ms: int) -> None:
    """Commit an event of now: after a minute without any, a start suspects that a backup was restored."""
    event = Event(at_ms=now_ms, actor=SYSTEM, kind=Kind.COLLECTOR_STARTED, subject=COLLECTOR, data=Data())
    with contextlib.closing(store.open()) as data:
        data.write_now(events.append, event)


def client(node: NodeId) -> tuple[str, str]:
    """The credential of a node: client id and secret."""
    return f"load-{node}", f"tgs_load-{node}"


def asked_for(shape: Shape, user: UserId) -> tuple[NewUser, str]:
    """What an admin would send to make this user, and his UUID."""
    limited = shape.limited(user)
    new = NewUser(
        name=f"user-{user}",
        manager=shapes.manager(user),
        zone="UTC",
        quota_bytes=shapes.QUOTA_BYTES if limited else None,
        duration_s=shapes.DURATION_S if limited else None,
        endpoints=tuple(shapes.endpoint(NodeId(node)) for node in shape.nodes_of(user)),
    )
    return new, f"{user:08x}-0000-4000-8000-000000000000"


def _parts(numbers: range, size: int) -> Iterator[range]:
    return (numbers[at : at + size] for at in range(0, len(numbers), size))


def _managers(session: Session, shape: Shape, now_ms: int) -> None:
    for number in range(1, shapes.MANAGERS + 1):
        above = shapes.parent(number)
        quota_bytes = shapes.POOL_BYTES if shape.mix == "pooled" and above is None else None
        new = NewManager(
            name=f"manager-{number}",
            parent=None if above is None else ManagerId(above),
            zone="UTC",
            quota_bytes=quota_bytes,
        )
        made = managers.create(session, new, SYSTEM, now_ms).value
        if made.id != number:
            raise RuntimeError(f"a database with managers cannot be filled: {number} became {made.id}")


def _nodes(session: Session, numbers: Iterable[int], now_ms: int) -> None:
    for number in map(NodeId, numbers):
        client_id, secret = client(number)
        token = passwords.hash_secret(client_id)
        made = nodes.create(session, NewNode(name=f"node-{number}"), SYSTEM, now_ms).value
        if made.id != number:
            raise RuntimeError(f"a database with nodes in it cannot be filled: {number} became {made.id}")
        new = NewEndpoint(name="main", protocol="vless", port=_PORT)
        endpoints.create(session, number, new, SYSTEM, now_ms)
        enrolment.mint(session, number, token, now_ms + _TOKEN_LIFE_MS, SYSTEM, now_ms)
        about = Registration(agent_version="load", hostname=client_id)
        enrolment.redeem(session, token, client_id, passwords.hash_secret(secret), about, now_ms)


@dataclass(frozen=True, kw_only=True)
class _Pattern:
    """The rows that the API has left of one user."""

    made: User
    user: Row
    counter: Row
    event: Row


@dataclass(kw_only=True)
class _Copies:
    """Makes users: the first of each kind by the API, the others after his pattern."""

    shape: Shape
    copying: bool
    patterns: dict[bool, _Pattern] = field(default_factory=dict)
    endpoints: dict[NodeId, Endpoint] = field(default_factory=dict)

    def make(self, session: Session, numbers: Iterable[int], now_ms: int) -> None:
        """Make these users, whose numbers follow those that are there."""
        left = []
        for user in map(UserId, numbers):
            if self.copying and self.shape.limited(user) in self.patterns:
                left.append(user)
            else:
                self._learn(session, user, now_ms)
        self._copy(session, left)

    def _learn(self, session: Session, user: UserId, now_ms: int) -> None:
        made = users.create(session, *asked_for(self.shape, user), SYSTEM, now_ms).value
        if made.id != user:
            raise RuntimeError(f"a database with users in it cannot be filled: {user} became {made.id}")
        self.patterns[self.shape.limited(user)] = _Pattern(
            made=made,
            user=_row(session, tables.User, "id", user),
            counter=_row(session, tables.Counter, "user_id", user),
            event=_row(session, tables.Event, "subject", f"user:{user}"),
        )

    def _copy(self, session: Session, numbers: Sequence[UserId]) -> None:
        found = [(user, self.patterns[self.shape.limited(user)]) for user in numbers]
        _insert(session, tables.User, [_user(self.shape, user, like) for user, like in found])
        _insert(session, tables.Counter, [like.counter | {"user_id": user} for user, like in found])
        _insert(session, tables.Event, [_event(self.shape, user, like) for user, like in found])
        served = [(user, NodeId(node)) for user in numbers for node in self.shape.nodes_of(user)]
        assigned = [{"user_id": user, "endpoint_id": shapes.endpoint(node)} for user, node in served]
        for table in (tables.Assignment, tables.Placing):
            _insert(session, table, assigned)
        _insert(session, tables.Desired, list(self._desired(session, found)))

    def _desired(self, session: Session, found: Iterable[tuple[UserId, _Pattern]]) -> Iterator[Row]:
        generations = {NodeId(node): at for node, at in session.rows("SELECT id, generation FROM node")}
        for user, like in found:
            own = structs.replace(like.made, id=user, uuid=asked_for(self.shape, user)[1])
            served = [self._endpoint(session, NodeId(node)) for node in self.shape.nodes_of(user)]
            for place, body in desired.accounts(own, served).items():
                generations[place.node] += 1
                now = {"node_id": place.node, "key": place.key, "generation": generations[place.node]}
                yield now | {"user_id": user, "body": body}
        session.run_many(
            "UPDATE node SET generation = ? WHERE id = ?", [(at, node) for node, at in generations.items()]
        )

    def _endpoint(self, session: Session, node: NodeId) -> Endpoint:
        if node not in self.endpoints:
            (self.endpoints[node],) = places.of_node(session, node)
        return self.endpoints[node]


def _user(shape: Shape, user: UserId, like: _Pattern) -> Row:
    new, uuid = asked_for(shape, user)
    own = {"id": user, "uuid": uuid, "uuid_key": people.uuid_key(uuid)}
    return like.user | own | {"name": new.name, "name_key": new.name, "manager_id": new.manager}


def _event(shape: Shape, user: UserId, like: _Pattern) -> Row:
    new, _ = asked_for(shape, user)
    own = {"name": new.name, "manager": new.manager, "endpoints": sorted(new.endpoints)}
    data = msgspec.json.decode(like.event["data"]) | own
    row = like.event | {"subject": f"user:{user}", "data": msgspec.json.encode(data)}
    return {name: value for name, value in row.items() if name != "id"}


def _row(session: Session, table: type[tables.Table], key: str, value: object) -> Row:
    names = columns(table)
    ((*found,),) = session.rows(f"SELECT {', '.join(names)} FROM {name(table)} WHERE {key} = ?", (value,))  # noqa: S608 - names of ours
    return dict(zip(names, found, strict=True))


def _insert(session: Session, table: type[tables.Table], rows: Sequence[Mapping[str, object]]) -> None:
    if rows:
        names, marks = ", ".join(rows[0]), ", ".join("?" * len(rows[0]))
        sql = f"INSERT INTO {name(table)} ({names}) VALUES ({marks})"  # noqa: S608 - names of ours
        session.run_many(sql, [tuple(row.values()) for row in rows])


def name(table: type[tables.Table]) -> str:
    """A table's name as SQL has it."""
    return f'"{table._meta.table_name}"'  # noqa: SLF001 - how peewee tells it


def columns(table: type[tables.Table]) -> list[str]:
    """The columns of a table."""
    return [field.column_name for field in table._meta.sorted_fields]  # noqa: SLF001 - how peewee tells it
