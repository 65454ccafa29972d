"""Ledgers and meters: the highest totals seen."""

import json
from collections.abc import Iterable
from dataclasses import dataclass

from collector.domain.metering import Charge, Key, Seen
from collector.store.session import Session
from shared.names import LedgerId, NodeId, UserId


@dataclass(frozen=True)
class Ledger:
    """A source of absolute totals; it belongs to the node that first reported under it."""

    number: int
    node: NodeId
    epoch: int = 0


def ledger(session: Session, name: LedgerId, node: NodeId, now_ms: int) -> Ledger:
    """The ledger of this name, made for this node when it is new."""
    session.run(
        "INSERT INTO ledger (name, node_id, created_ms, epoch, sequence) VALUES (?, ?, ?, 0, 0)"
        " ON CONFLICT (name) DO NOTHING",
        (name, node, now_ms),
    )
    return Ledger(*session.rows("SELECT id, node_id, epoch FROM ledger WHERE name = ?", (name,))[0])


def seen(session: Session, number: int, users: Iterable[UserId]) -> dict[Key, Seen]:
    """The totals seen under a ledger for these users."""
    rows = session.rows(
        "SELECT m.user_id, m.endpoint_id, m.up_bytes, m.down_bytes, m.last_ms"
        " FROM json_each(?) AS wanted JOIN meter AS m ON m.user_id = wanted.value WHERE m.ledger_id = ?",
        (json.dumps(sorted(set(users))), number),
    )
    return {Key(user, endpoint): Seen(up, down, last) for user, endpoint, up, down, last in rows}


def save(session: Session, number: int, charges: Iterable[Charge], now_ms: int) -> None:
    """Keep the new totals."""
    rows = sorted((*one.key, number, one.new_up, one.new_down, now_ms) for one in charges)
    session.run_many(
        "INSERT INTO meter (user_id, endpoint_id, ledger_id, up_bytes, down_bytes, last_ms,"
        " billed_up_bytes, billed_down_bytes) VALUES (?, ?, ?, ?, ?, ?, 0, 0)"
        " ON CONFLICT (user_id, endpoint_id, ledger_id) DO UPDATE SET"
        " up_bytes = excluded.up_bytes, down_bytes = excluded.down_bytes, last_ms = excluded.last_ms",
        rows,
    )
