"""Users whom the writer has forgotten, after a start say, let back into the fast lane (rows H7, H9).

What always holds: whoever is let in was charged before and is served, so that bytes alone change nothing of
him but his meters while his room and the quiet of his lease last. Nothing is written here, and whoever is in
doubt goes the careful way.
"""

from collections.abc import Iterable

from collector.app import lending
from collector.domain import standing
from collector.domain.lane import ENDLESS, Source
from collector.store import users
from collector.store.session import Session
from shared.messages import Usage
from shared.names import UserId


def readmit(session: Session, source: Source, rows: Iterable[tuple[int, Usage]], now_ms: int) -> bool:
    """Let users of these rows back in whose meters are known; False where nobody is."""
    hot, forgotten = session.hot, _forgotten(session, source, rows)
    if not forgotten:
        return False
    found = users.admissible(session, forgotten, now_ms)
    limited = {one.borrower.id: one.borrower for one in found if one.limited}
    quiet = lending.quiet(session, source, limited, now_ms) if limited else {}
    source.quiet.update(quiet)
    for one in found:
        user = one.borrower
        if user.id in quiet or not one.limited:
            room = standing.left(user.limits, user.used, pooled=one.limited)
            hot.admit(user.id, room, user.manager, one.due_ms, one.period_start_ms, now_ms)
    return bool(found)


def _forgotten(session: Session, source: Source, rows: Iterable[tuple[int, Usage]]) -> set[UserId]:
    """Users of known meters who have no room, or none under this ledger."""
    rooms, quiet, meters = session.hot.rooms, source.quiet, source.meters
    return {
        row.user
        for _, row in rows
        if row.user in meters.get(row.endpoint, ())
        and (rooms.get(row.user, 0) < ENDLESS)
        and (row.user not in rooms or row.user not in quiet)
    }
