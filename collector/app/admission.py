"""Users whom the writer has forgotten, after a start say, let back into the fast lane (rows H7, H9).

What always holds: whoever is let in was charged before and is served, so that bytes alone change nothing of
him but his meters while his room and the quiet of his lease last. Nothing is written here, and whoever is in
doubt goes the careful way.
"""

from collections.abc import Iterable

from collector.app import lending
from collector.domain import standing
from collector.domain.columns import NONE, Columns
from collector.domain.lane import ENDLESS, Source
from collector.store import admission
from collector.store.hot import Hot
from collector.store.session import Session
from shared.messages import Usage
from shared.names import UserId


def readmit(session: Session, source: Source, rows: Iterable[tuple[int, Usage]], now_ms: int) -> bool:
    """Let users of these rows back in whose meters are known; False where nobody is."""
    hot, forgotten = session.hot, _forgotten(session, source, rows)
    if not forgotten:
        return False
    found = admission.admissible(session, forgotten, now_ms)
    limited = {one.borrower.id: one.borrower for one in found if one.limited}
    quiet = lending.quiet(session, source, limited, now_ms) if limited else {}
    for one in found:
        user = one.borrower
        if user.id in quiet or not one.limited:
            room = standing.left(user.limits, user.used, pooled=one.limited)
            hot.admit(user.id, room, user.manager, one.due_ms, one.period_start_ms)
            source.meters.hush(user.id, quiet.get(user.id, NONE))
    return bool(found)


def _forgotten(session: Session, source: Source, rows: Iterable[tuple[int, Usage]]) -> set[UserId]:
    """Users of known meters who have no room, or none under this ledger."""
    hot, meters = session.hot, source.meters
    return {
        row.user for _, row in rows if meters.has(row.user, row.endpoint) and _lacks(hot, meters, row.user)
    }


def _lacks(hot: Hot, meters: Columns, user: UserId) -> bool:
    room = hot.room(user)
    return room == NONE or (room < ENDLESS and meters.quiet_of(user) == NONE)
