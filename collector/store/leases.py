"""Leases: what each ledger may serve of each limited user."""

from collections.abc import Iterable, Mapping

from collector.domain.lane import Source
from collector.domain.leases import NO_BYTES, Bytes, Ceilings, Holding
from collector.store.session import Session
from shared.names import MAX_BYTES, MAX_ID, ManagerId, NodeId, UserId

_FIGURES = (
    *("total_bytes", "up_bytes", "down_bytes"),
    *("held_total_bytes", "held_up_bytes", "held_down_bytes"),
)

Holdings = dict[UserId, dict[int, Holding]]


def holdings(session: Session, users: Iterable[UserId], *, active_since_ms: int) -> Holdings:
    """What every ledger has seen and may serve of these users, by user and number of the ledger."""
    wanted = session.numbers(users)
    seen = _seen(session, wanted)
    given = _given(session, wanted)
    factors = _factors(session, {ledger for _, ledger in seen.keys() | given.keys()})
    found: Holdings = {}
    for user, ledger in seen.keys() | given.keys():
        moved, last_ms = seen.get((user, ledger), (Bytes(), 0))
        ceilings, held = given.get((user, ledger), (Ceilings(), Bytes()))
        found.setdefault(user, {})[ledger] = Holding(
            seen=moved,
            ceilings=ceilings,
            held=held,
            factor_permille=factors.get(ledger, Holding.factor_permille),
            active=last_ms >= active_since_ms,
        )
    return found


def save(session: Session, ledger: int, holdings: Mapping[UserId, Holding]) -> None:
    """Keep the ceilings of one ledger, and what they hold of the managers above."""
    rows = [(user, ledger, *one.ceilings, *one.held) for user, one in sorted(holdings.items())]
    session.put_many("lease", ("user_id", "ledger_id"), _FIGURES, rows)


def between(session: Session, source: Source, after: int, last: int | None) -> dict[UserId, Ceilings]:
    """What one ledger may serve of the users above one up to another, or of all above."""
    rows = session.rows(
        "SELECT user_id, total_bytes, up_bytes, down_bytes FROM lease"
        " WHERE ledger_id = ? AND user_id > ? AND user_id <= ?",
        (source.number, min(after, MAX_ID), MAX_ID if last is None else min(last, MAX_ID)),
    )
    return {UserId(user): Ceilings(*held) for user, *held in rows}


def number(session: Session, source: Source) -> None:
    """Give a ledger's next batch of leases its serial; a node that makes one up may have come to the last."""
    session.hot.touch()
    source.serial = min(MAX_BYTES, source.serial + 1)
    session.run("UPDATE ledger SET serial = ? WHERE id = ?", (source.serial, source.number))


def free_node(session: Session, node: int) -> tuple[int, dict[ManagerId, Bytes]]:
    """Forget what a node held: it was declared lost, or owns nothing any more.

    Returns how many leases, and what that sets free of the managers directly above.
    """
    session.hot.forget_node(NodeId(node))
    of_node = "l.ledger_id IN (SELECT id FROM ledger WHERE node_id = ?)"
    freed = _held(session, of_node, (node,))
    sql = "DELETE FROM lease WHERE ledger_id IN (SELECT id FROM ledger WHERE node_id = ?)"
    return session.run(sql, (node,)), freed


def recall(session: Session, user: UserId, ledgers: Iterable[int]) -> frozenset[NodeId]:
    """Ask the nodes of these ledgers for a user's lease; returns those that were not asked already."""
    rows = session.rows(
        f"INSERT INTO recall (node_id, user_id) SELECT DISTINCT l.node_id, ? FROM {session.wanted}"
        " JOIN ledger AS l ON l.id = wanted.value WHERE TRUE ON CONFLICT DO NOTHING RETURNING node_id",
        (user, session.numbers(ledgers)),
    )
    return frozenset(NodeId(node) for (node,) in rows)


def recalled(session: Session, node: NodeId) -> list[UserId]:
    """The users whose leases a node is asked for."""
    rows = session.rows("SELECT user_id FROM recall WHERE node_id = ? ORDER BY user_id", (node,))
    return [UserId(user) for (user,) in rows]


def returned(session: Session, node: NodeId, users: Iterable[UserId]) -> None:
    """A node has given back what it held of these users."""
    session.run_many("DELETE FROM recall WHERE node_id = ? AND user_id = ?", [(node, user) for user in users])


def lent(session: Session, user: UserId) -> frozenset[NodeId]:
    """The nodes that were ever lent anything of a user, and have not been given up for lost."""
    rows = session.rows(
        "SELECT DISTINCT d.node_id FROM lease AS l JOIN ledger AS d ON d.id = l.ledger_id"
        " WHERE l.user_id = ?",
        (user,),
    )
    return frozenset(NodeId(node) for (node,) in rows)


def places(session: Session, node: NodeId, users: Iterable[UserId]) -> dict[UserId, tuple[int, bool]]:
    """On how many nodes each of these users may be served, and whether on this one; nobody without any."""
    rows = session.rows(
        "SELECT a.user_id, COUNT(DISTINCT e.node_id), MAX(CASE WHEN e.node_id = ? THEN 1 ELSE 0 END)"
        f" FROM {session.wanted} CROSS JOIN assignment AS a CROSS JOIN endpoint AS e"
        " WHERE a.user_id = wanted.value AND e.id = a.endpoint_id GROUP BY a.user_id",
        (node, session.numbers(users)),
    )
    return {user: (count, bool(here)) for user, count, here in rows}


def advance(session: Session, source: Source, order: tuple[int, int]) -> bool:
    """Note the order of a ledger's report; False when a newer one was seen already."""
    changed = session.run(
        "UPDATE ledger SET epoch = ?, sequence = ? WHERE id = ? AND (epoch, sequence) < (?, ?)",
        (*order, source.number, *order),
    )
    if changed:
        session.hot.touch()
        source.epoch = max(source.epoch, order[0])
    return changed == 1


def _held(session: Session, where: str, parameters: tuple[object, ...]) -> dict[ManagerId, Bytes]:
    rows = session.rows(
        "SELECT u.manager_id, SUM(l.held_total_bytes), SUM(l.held_up_bytes), SUM(l.held_down_bytes)"
        f' FROM lease AS l JOIN "user" AS u ON u.id = l.user_id WHERE u.manager_id IS NOT NULL AND {where}'
        " GROUP BY u.manager_id",
        parameters,
    )
    return {ManagerId(manager): Bytes(*map(int, held)) for manager, *held in rows}


def _seen(session: Session, users: object) -> dict[tuple[UserId, int], tuple[Bytes, int]]:
    rows = session.rows(
        "SELECT m.user_id, m.ledger_id, m.up_bytes, m.down_bytes, m.last_ms"
        f" FROM {session.wanted} JOIN meter AS m ON m.user_id = wanted.value",
        (users,),
    )
    # Added up here, where a sum may be larger than a column.
    found: dict[tuple[UserId, int], tuple[Bytes, int]] = {}
    for user, ledger, up, down, last_ms in rows:
        (total, before_up, before_down), latest_ms = found.get((user, ledger), (NO_BYTES, 0))
        more = Bytes(total + up + down, before_up + up, before_down + down)
        found[user, ledger] = more, max(latest_ms, last_ms)
    return found


def _given(session: Session, users: object) -> dict[tuple[UserId, int], tuple[Ceilings, Bytes]]:
    rows = session.rows(
        "SELECT l.user_id, l.ledger_id, l.total_bytes, l.up_bytes, l.down_bytes, l.held_total_bytes,"
        " l.held_up_bytes, l.held_down_bytes"
        f" FROM {session.wanted} JOIN lease AS l ON l.user_id = wanted.value",
        (users,),
    )
    return {(user, ledger): (Ceilings(*held[:3]), Bytes(*held[3:])) for user, ledger, *held in rows}


def _factors(session: Session, ledgers: Iterable[int]) -> dict[int, int]:
    rows = session.rows(
        f"SELECT l.id, MAX(e.factor_permille) FROM {session.wanted}"
        " JOIN ledger AS l ON l.id = wanted.value JOIN endpoint AS e ON e.node_id = l.node_id GROUP BY l.id",
        (session.numbers(ledgers),),
    )
    return {int(ledger): int(factor) for ledger, factor in rows}
