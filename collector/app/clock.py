"""What time alone changes of users: new periods, starts and ends (rows H2, H3)."""

from collector.app import users as people
from collector.domain import standing
from collector.domain.access import SYSTEM
from collector.domain.changes import Change
from collector.store import users
from collector.store.session import Session


def advance(session: Session, limit: int, now_ms: int) -> Change[int]:
    """Bring up to `limit` users who are due to this moment; returns how many were."""
    before = {user.id: user for user in users.due(session, now_ms, limit)}
    after = [standing.advanced(user, now_ms) for user in before.values()]
    steps = list(zip(before.values(), after, strict=True))
    return Change(len(before), people.settle(session, before, after, steps, SYSTEM, now_ms))
