"""Held rows of reports. Totals are kept as text: an absurd one need not fit a column of integers."""

from typing import Any

from collector.domain.metering import Key
from collector.domain.quarantine import Cause, Decision, Held
from collector.store.session import Session
from shared.names import MAX_ID, EndpointId, LedgerId, NodeId, UserId

_SELECT = """
    SELECT id, node_id, ledger, user_id, endpoint_id, up_bytes, down_bytes, content, cause, reason, first_ms,
           last_ms, seen_count, decision
    FROM quarantine
"""
#: A node that sends nothing but rubbish must not fill the disk.
_MAX_OPEN = 1_000


def hold(session: Session, held: Held) -> int | None:
    """Keep a row, and return its number; a repeat of an open one replaces its totals and is counted."""
    if held.user is not None:
        session.hot.forget([UserId(held.user)])
    user, endpoint = _fitting(held.user), _fitting(held.endpoint)
    totals = (_text(held.up), _text(held.down))
    repeated = session.run(
        "UPDATE quarantine SET up_bytes = ?, down_bytes = ?, last_ms = ?, seen_count = seen_count + 1"
        " WHERE decision IS NULL AND ledger = ? AND user_id IS NOT DISTINCT FROM ?"
        " AND endpoint_id IS NOT DISTINCT FROM ? AND cause = ?"
        " AND (user_id IS NOT NULL OR content = ?)",
        (*totals, held.last_ms, held.ledger, user, endpoint, held.cause.value, held.content),
    )
    if repeated or _open_count(session, held.node) >= _MAX_OPEN:
        return None
    rows = session.rows(
        "INSERT INTO quarantine (node_id, ledger, user_id, endpoint_id, up_bytes, down_bytes, content,"
        " cause, reason, first_ms, last_ms, seen_count) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1)"
        " RETURNING id",
        (
            *(held.node, held.ledger, user, endpoint, *totals),
            *(held.content, held.cause.value, held.reason, held.first_ms, held.last_ms),
        ),
    )
    return int(rows[0][0])


def waiting(session: Session, ledger: LedgerId) -> set[Key]:
    """Meters of a ledger that wait for an admin's decision."""
    rows = session.rows(
        "SELECT user_id, endpoint_id FROM quarantine WHERE ledger = ? AND decision IS NULL AND cause = ?",
        (ledger, Cause.TOO_FAST.value),
    )
    return {Key(UserId(user), EndpointId(endpoint)) for user, endpoint in rows}


def every(session: Session) -> list[Held]:
    """All held rows, the open ones first."""
    return [_held(row) for row in session.rows(_SELECT + " ORDER BY decision IS NOT NULL, id")]


def one(session: Session, number: int) -> Held | None:
    """A held row."""
    rows = session.rows(_SELECT + " WHERE id = ?", (number,))
    return _held(rows[0]) if rows else None


def decide(session: Session, number: int, decision: Decision) -> None:
    """Close a held row."""
    session.run("UPDATE quarantine SET decision = ? WHERE id = ?", (decision.value, number))


def _open_count(session: Session, node: NodeId) -> int:
    sql = "SELECT COUNT(*) FROM quarantine WHERE node_id = ? AND decision IS NULL"
    return int(session.rows(sql, (node,))[0][0])


def _held(row: tuple[Any, ...]) -> Held:
    number, node, ledger, user, endpoint, up, down, content, cause, reason, first, last, count, decision = row
    return Held(
        id=number,
        node=NodeId(node),
        ledger=ledger,
        user=user,
        endpoint=endpoint,
        up=None if up is None else int(up),
        down=None if down is None else int(down),
        content=content,
        cause=Cause(cause),
        reason=reason,
        first_ms=first,
        last_ms=last,
        seen_count=count,
        decision=None if decision is None else Decision(decision),
    )


def _fitting(number: int | None) -> int | None:
    return number if number is not None and 0 <= number <= MAX_ID else None


def _text(total: int | None) -> str | None:
    return None if total is None else str(total)
