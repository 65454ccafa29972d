"""Who is below which manager: counted, and found where he is served or stopped against what holds now.

What always holds: somebody is active who moved a byte since his manager's present period began; the removed
count nowhere.
"""

from collections.abc import Collection, Iterable
from typing import NamedTuple

from collector.store.session import Session
from shared.names import ManagerId, UserId

#: A byte of the user `u` since a moment.
_MOVED = (
    "EXISTS (SELECT 1 FROM meter AS t WHERE t.user_id = u.id AND t.last_ms >= {}"
    " AND (t.up_bytes > 0 OR t.down_bytes > 0))"
)
_STANDING = 'SELECT u.id FROM "user" AS u WHERE u.removed_ms IS NULL AND u.manager_stopped = ?'
_OF = " AND u.manager_id IN (SELECT value FROM {})"


class Census(NamedTuple):
    """Users directly below a manager, below him at any depth, and those of them who are active."""

    own: int = 0
    below: int = 0
    active: int = 0


def below(session: Session, tops: Iterable[ManagerId]) -> dict[ManagerId, Census]:
    """How many users these managers have; nobody is told of who has none.

    Everybody is looked at once for each moment at which periods began, however many managers are above him.
    """
    lines, starts = _lines(session, tops)
    people = _counted(session, {manager for line in lines.values() for manager in line})
    active: dict[int, dict[ManagerId, int]] = {}
    for start_ms in set(starts.values()):
        of = {manager for top, line in lines.items() if starts[top] == start_ms for manager in line}
        active[start_ms] = _counted(session, of & people.keys(), " AND " + _MOVED.format("?"), start_ms)
    found = {
        top: Census(
            people.get(top, 0),
            sum(people.get(one, 0) for one in line),
            sum(active[starts[top]].get(one, 0) for one in line),
        )
        for top, line in lines.items()
    }
    return {top: census for top, census in found.items() if census.below}


def managers_of(session: Session, users: Iterable[UserId]) -> dict[UserId, ManagerId]:
    """The manager directly above each of these users, of those who have one."""
    rows = session.rows(
        f'SELECT u.id, u.manager_id FROM {session.wanted} JOIN "user" AS u ON u.id = wanted.value'
        " WHERE u.manager_id IS NOT NULL AND u.removed_ms IS NULL",
        (session.numbers(users),),
    )
    return {UserId(user): ManagerId(manager) for user, manager in rows}


def standing(session: Session, of: Collection[ManagerId], *, stopped: bool, limit: int) -> list[UserId]:
    """Users directly below some managers who are stopped, or who are not."""
    if not of:
        return []
    sql = _STANDING + _OF.format(session.wanted) + " LIMIT ?"
    return _users(session, sql, (stopped, session.numbers(of), limit))


def offline(session: Session, of: ManagerId, online: Collection[UserId], limit: int) -> list[UserId]:
    """Users directly below a manager who are not stopped, without those who are online."""
    others = f" AND u.manager_id = ? AND u.id NOT IN (SELECT value FROM {session.wanted})"
    sql = _STANDING + others + " LIMIT ?"
    return _users(session, sql, (False, of, session.numbers(online), limit))


def unused(session: Session, of: ManagerId, since_ms: int, limit: int) -> list[UserId]:
    """Users directly below a manager who are not stopped and have not moved a byte since a moment."""
    sql = _STANDING + " AND u.manager_id = ? AND NOT " + _MOVED.format("?") + " LIMIT ?"
    return _users(session, sql, (False, of, since_ms, limit))


def used(session: Session, of: ManagerId, since_ms: int, limit: int) -> list[UserId]:
    """Users directly below a manager who are stopped although they have moved a byte since a moment."""
    sql = _STANDING + " AND u.manager_id = ? AND " + _MOVED.format("?") + " LIMIT ?"
    return _users(session, sql, (True, of, since_ms, limit))


def any_below(session: Session, manager: ManagerId) -> tuple[int, int]:
    """How many managers and users are directly below a manager."""
    children = session.rows(
        "SELECT COUNT(*) FROM manager WHERE parent_id = ? AND removed_ms IS NULL", (manager,)
    )
    users = session.rows(
        'SELECT COUNT(*) FROM "user" WHERE manager_id = ? AND removed_ms IS NULL', (manager,)
    )
    return int(children[0][0]), int(users[0][0])


def _users(session: Session, sql: str, parameters: tuple[object, ...]) -> list[UserId]:
    return [UserId(user) for (user,) in session.rows(sql, parameters)]


def _lines(
    session: Session, tops: Iterable[ManagerId]
) -> tuple[dict[ManagerId, list[ManagerId]], dict[ManagerId, int]]:
    """Everybody at and below each of these, and when their own periods began."""
    rows = session.rows(
        f"WITH RECURSIVE line(top, id) AS (SELECT m.id, m.id FROM {session.wanted}"
        " JOIN manager m ON m.id = wanted.value"
        " UNION SELECT line.top, m.id FROM line JOIN manager m ON m.parent_id = line.id)"
        " SELECT line.top, line.id, c.period_start_ms FROM line"
        " JOIN manager_counter AS c ON c.manager_id = line.top",
        (session.numbers(tops),),
    )
    lines: dict[ManagerId, list[ManagerId]] = {}
    for top, one, _ in rows:
        lines.setdefault(top, []).append(one)
    return lines, {top: start_ms for top, _, start_ms in rows}


def _counted(
    session: Session, of: Iterable[ManagerId], where: str = "", *parameters: object
) -> dict[ManagerId, int]:
    """How many users are directly below each of these."""
    sql = (
        f'SELECT u.manager_id, COUNT(*) FROM {session.wanted} JOIN "user" AS u ON u.manager_id = wanted.value'
        f" WHERE u.removed_ms IS NULL{where} GROUP BY u.manager_id"
    )
    return dict(session.rows(sql, (session.numbers(of), *parameters)))
