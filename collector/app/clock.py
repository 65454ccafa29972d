"""What time alone changes of users and managers: new periods, starts and ends (rows H2, H3, H4)."""

from collector.app import phases
from collector.app import users as people
from collector.domain import managers as reselling
from collector.domain import standing
from collector.domain.access import SYSTEM
from collector.domain.changes import Change
from collector.store import managers, users
from collector.store.session import Session


def advance(session: Session, limit: int, now_ms: int) -> Change[int]:
    """Bring up to `limit` users who are due to this moment; returns how many were."""
    before = {user.id: user for user in users.due(session, now_ms, limit)}
    after = [standing.advanced(user, now_ms) for user in before.values()]
    steps = list(zip(before.values(), after, strict=True))
    return Change(len(before), people.settle(session, before, after, steps, SYSTEM, now_ms))


def advance_managers(session: Session, limit: int, now_ms: int) -> Change[int]:
    """Bring up to `limit` managers who are due to this moment; returns how many were."""
    found = managers.due(session, now_ms, limit)
    turns = [managers.Turn(one, reselling.advanced(one, now_ms)) for one in found]
    managers.begin_periods(session, (turn.after for turn in turns))
    managers.save_standing(session, [turn.after for turn in turns])
    phases.tell(session, turns, SYSTEM, now_ms)
    return Change(len(turns), managers=any(one.standing != after.standing for one, after in turns))
