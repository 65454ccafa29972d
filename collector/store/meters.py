"""Meters: totals by ledger, user and endpoint, and the hours they are told apart by (rows H5, H9).

What always holds: all meters of a ledger are in the same open hour. When the ledger's next hour begins, what
each has moved becomes a row of history, in the transaction that charges the first bytes of that hour.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby

from collector.domain import lane, metering
from collector.domain.metering import Charge, Key, Seen
from collector.store import endpoints, history, nodes, quarantine
from collector.store.session import Session
from shared.names import LedgerId, NodeId, UserId

_HOUR_MS = 3_600_000
_KEY = ("ledger_id", "user_id", "endpoint_id")
_TOTALS = ("up_bytes", "down_bytes", "billed_up_bytes", "billed_down_bytes")


def source(session: Session, name: LedgerId, node: NodeId, now_ms: int) -> lane.Source:
    """The ledger of this name with its meters, made for this node when it is new.

    Meters that wait for an admin's decision are not remembered: their rows are judged by what waits.
    """
    if (known := session.hot.source(name)) is not None:
        return known
    session.hot.touch()
    session.run(
        "INSERT INTO ledger (name, node_id, created_ms, epoch, sequence, hour, serial)"
        " VALUES (?, ?, ?, 0, 0, ?, 0) ON CONFLICT (name) DO NOTHING",
        (name, node, now_ms, now_ms // _HOUR_MS),
    )
    number, owner, epoch, hour, serial, learning_ms = session.rows(
        "SELECT l.id, l.node_id, l.epoch, l.hour, l.serial, n.learning_ms FROM ledger AS l"
        " JOIN node AS n ON n.id = l.node_id WHERE l.name = ?",
        (name,),
    )[0]
    fresh = lane.Source(
        number=number,
        node=owner,
        hour=hour,
        epoch=epoch,
        fast_bytes=metering.possible_bytes(nodes.require(session, owner).link_mbps, 0),
        factors=endpoints.factors(session, owner),
        serial=serial,
        learning_ms=learning_ms,
    )
    rows = session.rows(
        "SELECT user_id, endpoint_id, up_bytes, down_bytes, billed_up_bytes, billed_down_bytes"
        " FROM meter WHERE ledger_id = ? ORDER BY user_id, endpoint_id",
        (number,),
    )
    if waiting := quarantine.waiting(session, name):
        rows = [row for row in rows if row[:2] not in waiting]
    session.hot.keep(fresh, rows)
    session.hot.learn(name, fresh)
    return fresh


def seen(session: Session, number: int, users: Iterable[UserId]) -> dict[Key, Seen]:
    """The totals seen under a ledger for these users."""
    # A cross join, so that SQLite looks each user up instead of reading the ledger's meters for each of them.
    rows = session.rows(
        "SELECT m.user_id, m.endpoint_id, m.up_bytes, m.down_bytes, m.billed_up_bytes, m.billed_down_bytes,"
        f" m.last_ms FROM {session.wanted} CROSS JOIN meter AS m"
        " WHERE m.ledger_id = ? AND m.user_id = wanted.value",
        (session.numbers(users), number),
    )
    return {Key(user, endpoint): Seen(*totals) for user, endpoint, *totals in rows}


def billed(session: Session, users: Iterable[UserId]) -> dict[UserId, tuple[int, int, int]]:
    """Billed up and down of these users over all their meters, and when the last was reported."""
    rows = session.rows(
        "SELECT m.user_id, m.billed_up_bytes, m.billed_down_bytes, m.last_ms"
        f" FROM {session.wanted} JOIN meter AS m ON m.user_id = wanted.value",
        (session.numbers(users),),
    )
    # Added up here, where a sum may be larger than a column.
    found: dict[UserId, tuple[int, int, int]] = {}
    for user, up, down, last_ms in rows:
        before = found.get(user, (0, 0, 0))
        found[user] = (before[0] + up, before[1] + down, max(before[2], last_ms))
    return found


def move(session: Session, moved: Sequence[tuple[int, ...]]) -> None:
    """Keep what took the fast lane."""
    if moved:
        session.hot.touch()
        session.put_many("meter", _KEY, (*_TOTALS, "last_ms"), sorted(moved))


def save(session: Session, source: lane.Source, charges: Iterable[Charge]) -> None:
    """Keep the meters after these charges, which are in the order of their time."""
    session.hot.touch()
    for hour, charged in groupby(charges, lambda one: hour_of(one.at_ms)):
        turn(session, source, hour)
        latest = {one.key: one.seen for one in charged}
        opened = [(source.number, *key, source.hour, 0, 0, 0, 0) for key in sorted(latest)]
        session.insert_many("opening", (*_KEY, "hour", *_TOTALS), opened, "ON CONFLICT DO NOTHING")
        rows = [(source.number, *key, *seen) for key, seen in sorted(latest.items())]
        session.put_many("meter", _KEY, (*_TOTALS, "last_ms"), rows)
        session.hot.keep(source, [(*key, *seen[:4]) for key, seen in latest.items()])


def rebase(session: Session, source: lane.Source, charge: Charge) -> None:
    """Take a meter to totals that nobody is billed for, and that no hour shows."""
    before = seen(session, source.number, [charge.key.user]).get(charge.key, Seen(0, 0, 0, 0, 0))
    save(session, source, [charge._replace(seen=_unbilled(charge.seen, before), at_ms=_now(source))])
    session.run(
        "UPDATE opening SET up_bytes = up_bytes + ?, down_bytes = down_bytes + ?"
        " WHERE ledger_id = ? AND user_id = ? AND endpoint_id = ?",
        (charge.seen.up - before.up, charge.seen.down - before.down, source.number, *charge.key),
    )


def turn(session: Session, source: lane.Source, hour: int) -> None:
    """Begin a later hour of a ledger: what its meters moved in the open one is history."""
    if hour <= source.hour:
        return
    session.hot.touch()
    history.close(session, source.number)
    session.run(
        "UPDATE opening SET hour = ?, up_bytes = m.up_bytes, down_bytes = m.down_bytes,"
        " billed_up_bytes = m.billed_up_bytes, billed_down_bytes = m.billed_down_bytes FROM meter AS m"
        " WHERE opening.ledger_id = ? AND m.ledger_id = opening.ledger_id"
        " AND m.user_id = opening.user_id AND m.endpoint_id = opening.endpoint_id",
        (hour, source.number),
    )
    session.run("UPDATE ledger SET hour = ? WHERE id = ?", (hour, source.number))
    source.hour = hour


def hour_of(moment_ms: int) -> int:
    """The hour since the epoch in which a moment lies."""
    return moment_ms // _HOUR_MS


def _now(source: lane.Source) -> int:
    return source.hour * _HOUR_MS


def _unbilled(offered: Seen, before: Seen) -> Seen:
    return offered._replace(billed_up=before.billed_up, billed_down=before.billed_down)
