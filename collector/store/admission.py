"""Whom the fast lane may take back without judging him: read at once for all users of a report."""

from collections.abc import Iterable
from typing import NamedTuple

from collector.domain.leases import ENDLESS, Borrower, Bytes, Ceilings
from collector.domain.users import Status
from collector.store import meters
from collector.store.session import Session
from shared.names import UserId


class Admissible(NamedTuple):
    """Somebody served of whom time changes nothing before `due_ms`, and bytes nothing before a limit."""

    borrower: Borrower
    limited: bool
    due_ms: int | None
    period_start_ms: int


def admissible(session: Session, users: Iterable[UserId], now_ms: int) -> list[Admissible]:
    """Those of these users who are served, were charged before, and are not due."""
    # Judged here who is left out: a planner that takes conditions for rare joins the other way around.
    found = session.rows(
        "SELECT u.id, u.manager_id, u.terms, u.quota_bytes, u.up_limit_bytes, u.down_limit_bytes, u.pooled,"
        " u.due_ms, c.period_start_ms, c.carried_up_bytes - c.base_up_bytes,"
        " c.carried_down_bytes - c.base_down_bytes,"
        " u.status, u.manager_stopped, u.removed_ms, c.first_ms"
        f' FROM {session.wanted} CROSS JOIN "user" AS u CROSS JOIN counter AS c'
        " WHERE u.id = wanted.value AND c.user_id = wanted.value",
        (session.numbers(users),),
    )
    rows = [row[:-4] for row in found if _in_order(*row[-4:]) and (row[7] is None or row[7] > now_ms)]
    limited = [row[0] for row in rows if row[6] or row[3:6] != ENDLESS]
    billed = meters.billed(session, limited) if limited else {}
    nothing, of = (0, 0, 0), set(limited)
    able = []
    for user, manager, terms, quota, most_up, most_down, _, due_ms, start_ms, up, down in rows:
        billed_up, billed_down, _ = billed.get(user, nothing)
        used = Bytes(up + down + billed_up + billed_down, up + billed_up, down + billed_down)
        borrower = Borrower(user, manager, terms, Ceilings(quota, most_up, most_down), used)
        able.append(Admissible(borrower, user in of, due_ms, start_ms))
    return able


def _in_order(status: str, stopped: object, removed_ms: int | None, first_ms: int | None) -> bool:
    return status == Status.ACTIVE.value and not stopped and removed_ms is None and first_ms is not None
