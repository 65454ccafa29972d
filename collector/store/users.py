"""Users and their counters.

What always holds: whatever changes a user here, his rows leave the fast lane, to be judged anew.
"""

from collections.abc import Collection, Iterable
from typing import Any

from msgspec import structs

from collector.domain import validity
from collector.domain.resets import Anchor, Mode
from collector.domain.users import EndpointUsage, Status, User
from collector.store import ids, meters, sessions
from collector.store.session import Session
from shared.names import MAX_BYTES, EndpointId, ManagerId, UserId

_SELECT = """
    SELECT u.id, u.uuid, u.name, u.status, u.reason, u.quota_bytes, u.up_limit_bytes, u.down_limit_bytes,
           u.terms, u.due_ms, u.created_ms,
           u.reset, u.reset_anchor, u.reset_day, u.reset_month, u.zone, u.duration_s, u.start_at_ms,
           u.manager_id, u.manager_stopped, u.pooled,
           u.max_concurrent, u.allowed_devices, u.up_kbps, u.down_kbps,
           u.first_connected_ms, u.last_connected_ms,
           c.carried_up_bytes, c.carried_down_bytes, c.base_up_bytes, c.base_down_bytes,
           c.period_start_ms, c.first_ms, c.last_ms
    FROM "user" u JOIN counter c ON c.user_id = u.id
"""
_STATUSES = {status.value: status for status in Status}
_MODES = {mode.value: mode for mode in Mode}
_ANCHORS = {anchor.value: anchor for anchor in Anchor}


def insert(session: Session, user: User, uuid_key: str) -> User:
    """Store a new user; returns him with his id."""
    rows = session.rows(
        'INSERT INTO "user" (id, uuid, uuid_key, created_ms, name, name_key, status, reason, quota_bytes,'
        " up_limit_bytes, down_limit_bytes, terms, due_ms, reset, reset_anchor, reset_day, reset_month, zone,"
        " duration_s, start_at_ms, manager_id, manager_stopped, pooled, max_concurrent, allowed_devices,"
        " up_kbps, down_kbps)"
        f" VALUES ({', '.join('?' * 27)}) RETURNING id",
        (ids.following(session, "user"), user.uuid, uuid_key, user.created_ms, *_changeable(user)),
    )
    stored = structs.replace(user, id=UserId(rows[0][0]))
    session.run(
        "INSERT INTO counter (user_id, carried_up_bytes, carried_down_bytes, base_up_bytes, base_down_bytes,"
        " period_start_ms) VALUES (?, 0, 0, 0, 0, ?)",
        (stored.id, stored.period_start_ms),
    )
    return stored


def one(session: Session, user: UserId) -> User | None:
    """A user who is not removed."""
    found = _users(session, " WHERE u.id = ? AND u.removed_ms IS NULL", (user,))
    return found[0] if found else None


def page(session: Session, after: UserId, limit: int, of: Iterable[ManagerId] | None = None) -> list[User]:
    """Users in the order of their ids, those after the given one; only those directly `of` some managers."""
    where, parameters = "", list[object]([after])
    if of is not None:
        where = f" AND u.manager_id IN (SELECT value FROM {session.wanted})"
        parameters.append(session.numbers(of))
    where = f" WHERE u.id > ?{where} AND u.removed_ms IS NULL ORDER BY u.id LIMIT ?"
    return _users(session, where, (*parameters, limit))


def among(session: Session, users: Iterable[UserId]) -> dict[UserId, User]:
    """Those of these ids that exist, removed ones included: their late bytes are still theirs."""
    where = f" WHERE u.id IN (SELECT value FROM {session.wanted}) ORDER BY u.id"
    return {user.id: user for user in _users(session, where, (session.numbers(users),))}


def removed_among(session: Session, users: Iterable[UserId]) -> set[UserId]:
    """Those of these ids that were removed."""
    rows = session.rows(
        f'SELECT u.id FROM {session.wanted} JOIN "user" AS u ON u.id = wanted.value'
        " WHERE u.removed_ms IS NOT NULL",
        (session.numbers(users),),
    )
    return {user for (user,) in rows}


def holder(session: Session, *, name: str, uuid_key: str, but: UserId | None = None) -> dict[str, UserId]:
    """Who holds this name or this UUID already, by field."""
    rows = session.rows(
        'SELECT id, name_key = ?, uuid_key = ? FROM "user" WHERE (name_key = ? OR uuid_key = ?) AND id <> ?',
        (name, uuid_key, name, uuid_key, but or 0),
    )
    held: dict[str, UserId] = {}
    for user, same_name, same_uuid in rows:
        held |= ({"name": user} if same_name else {}) | ({"uuid": user} if same_uuid else {})
    return held


def due(session: Session, now_ms: int, limit: int) -> list[User]:
    """Users of whom time has changed something by now, those who wait longest first."""
    where = " WHERE u.due_ms <= ? AND u.removed_ms IS NULL ORDER BY u.due_ms, u.id LIMIT ?"
    return _users(session, where, (now_ms, limit))


def zones(session: Session) -> list[str]:
    """The zones that users have."""
    return [zone for (zone,) in session.rows('SELECT DISTINCT zone FROM "user" ORDER BY zone')]


def save(session: Session, user: User) -> None:
    """Store what may change of a user besides his counters."""
    session.hot.forget([user.id])
    session.run(
        'UPDATE "user" SET name = ?, name_key = ?, status = ?, reason = ?, quota_bytes = ?,'
        " up_limit_bytes = ?, down_limit_bytes = ?, terms = ?, due_ms = ?, reset = ?, reset_anchor = ?,"
        " reset_day = ?, reset_month = ?, zone = ?, duration_s = ?, start_at_ms = ?, manager_id = ?,"
        " manager_stopped = ?, pooled = ?, max_concurrent = ?, allowed_devices = ?, up_kbps = ?,"
        " down_kbps = ? WHERE id = ?",
        (*_changeable(user), user.id),
    )


def save_standing(session: Session, users: Collection[User]) -> None:
    """Store status, reason and the next due moment of many users; the removed have none."""
    session.hot.forget(user.id for user in users)
    session.run_many(
        'UPDATE "user" SET status = ?, reason = ?,'
        " due_ms = CASE WHEN removed_ms IS NULL THEN CAST(? AS BIGINT) END WHERE id = ?",
        [(user.status.value, user.reason, user.due_ms, user.id) for user in users],
    )


def save_stopped(session: Session, users: Collection[User]) -> None:
    """Store of many users whether somebody above them may have nobody served."""
    session.hot.forget(user.id for user in users)
    session.run_many(
        'UPDATE "user" SET manager_stopped = ? WHERE id = ?',
        [(user.manager_stopped, user.id) for user in users],
    )


def pool(session: Session, users: Collection[User]) -> None:
    """Store of many users whether somebody above them limits bytes, and under which terms they are."""
    session.hot.forget(user.id for user in users)
    session.run_many(
        'UPDATE "user" SET pooled = ?, terms = ? WHERE id = ?',
        [(user.pooled, user.terms, user.id) for user in users],
    )


def misplaced_pools(session: Session, pooling: Iterable[ManagerId], limit: int) -> list[UserId]:
    """Users who are pooled although nobody above them limits bytes, or are not although somebody does."""
    among = f"u.manager_id IN (SELECT value FROM {session.wanted})"
    rows = session.rows(
        f'SELECT u.id FROM "user" AS u WHERE u.removed_ms IS NULL AND u.pooled = ? AND {among} LIMIT ?',
        (False, session.numbers(pooling), limit),
    )
    rows += session.rows(
        f'SELECT u.id FROM "user" AS u WHERE u.removed_ms IS NULL AND u.pooled = ? AND'
        f" (u.manager_id IS NULL OR NOT {among}) LIMIT ?",
        (True, session.numbers(pooling), limit - len(rows)),
    )
    return [UserId(user) for (user,) in rows]


def unpool(session: Session, managers: Iterable[ManagerId]) -> None:
    """Let everybody directly below these managers be pooled anew, under new terms."""
    rows = session.rows(
        f'UPDATE "user" SET pooled = ? WHERE manager_id IN (SELECT value FROM {session.wanted})'
        " AND removed_ms IS NULL RETURNING id",
        (False, session.numbers(managers)),
    )
    session.hot.forget(user for (user,) in rows)


def hand_over(session: Session, manager: ManagerId, to: ManagerId) -> list[tuple[UserId, str]]:
    """Put everybody directly below a manager below another one; returns them with their names."""
    rows = session.rows(
        'UPDATE "user" SET manager_id = ? WHERE manager_id = ? AND removed_ms IS NULL RETURNING id, name',
        (to, manager),
    )
    session.hot.forget(user for user, _ in rows)
    return [(UserId(user), name) for user, name in rows]


def save_counters(session: Session, users: Collection[User]) -> None:
    """Store from where the periods of many users are counted; their bytes are those of their meters."""
    session.hot.forget(user.id for user in users)
    rows = [
        (
            *(user.life_up_bytes - user.up_bytes, user.life_down_bytes - user.down_bytes),
            *(user.period_start_ms, user.first_used_ms, user.id),
        )
        for user in users
    ]
    session.run_many(
        "UPDATE counter SET base_up_bytes = ?, base_down_bytes = ?, period_start_ms = ?, first_ms = ?"
        " WHERE user_id = ?",
        rows,
    )


def remove(session: Session, user: UserId, now_ms: int) -> None:
    """Mark a user as removed; his name and UUID are free again."""
    session.hot.forget([user])
    session.run(
        'UPDATE "user" SET removed_ms = ?, name_key = NULL, uuid_key = NULL, due_ms = NULL WHERE id = ?',
        (now_ms, user),
    )
    session.run("DELETE FROM assignment WHERE user_id = ?", (user,))


def usage_by_endpoint(session: Session, user: UserId) -> list[EndpointUsage]:
    """What a user moved over each endpoint, over all ledgers."""
    rows = session.rows(
        "SELECT endpoint_id, up_bytes, down_bytes FROM meter WHERE user_id = ? ORDER BY endpoint_id", (user,)
    )
    # Added up here, where a sum may be larger than a column.
    totals: dict[EndpointId, tuple[int, int]] = {}
    for endpoint, up, down in rows:
        before = totals.get(endpoint, (0, 0))
        totals[endpoint] = (before[0] + up, before[1] + down)
    return [EndpointUsage(endpoint, up, down) for endpoint, (up, down) in totals.items()]


def _users(session: Session, where: str, parameters: tuple[object, ...]) -> list[User]:
    rows = session.rows(_SELECT + where, parameters)
    billed = meters.billed(session, (row[0] for row in rows))
    return [_user(row, billed.get(row[0], (0, 0, 0))) for row in rows]


def _changeable(user: User) -> tuple[object, ...]:
    valid, schedule = user.validity, user.validity.schedule
    return (
        *(user.name, user.name, user.status.value, user.reason),
        *(user.quota_bytes, user.up_limit_bytes, user.down_limit_bytes, user.terms, user.due_ms),
        *(schedule.mode.value, schedule.anchor.value, schedule.day, schedule.month, schedule.zone),
        *(valid.duration_s, valid.start_at_ms, user.manager, user.manager_stopped, user.pooled),
        *(user.max_concurrent, sessions.kept_devices(user.allowed_devices)),
        *(user.up_kbps, user.down_kbps),
    )


def _user(row: tuple[Any, ...], billed: tuple[int, int, int]) -> User:
    number, uuid, name, status, reason, quota, up_limit, down_limit, terms, due_ms, created = row[:11]
    mode, anchor, *others = row[11:18]
    manager, stopped, pooled, max_concurrent, devices, up_kbps, down_kbps, *later = row[18:]
    first_connected, last_connected, *counted = later
    carried_up, carried_down, base_up, base_down, period_start, first, last = counted
    life_up = min(MAX_BYTES, carried_up + billed[0])
    life_down = min(MAX_BYTES, carried_down + billed[1])
    return User(
        id=number,
        uuid=uuid,
        name=name,
        manager=manager,
        manager_stopped=bool(stopped),
        pooled=bool(pooled),
        status=_STATUSES[status],
        reason=reason,
        quota_bytes=quota,
        up_limit_bytes=up_limit,
        down_limit_bytes=down_limit,
        terms=terms,
        validity=validity.made(_MODES[mode], _ANCHORS[anchor], *others),
        due_ms=due_ms,
        max_concurrent=max_concurrent,
        allowed_devices=sessions.devices_of(devices),
        up_kbps=up_kbps,
        down_kbps=down_kbps,
        first_connected_ms=first_connected,
        last_connected_ms=last_connected,
        created_ms=created,
        up_bytes=life_up - base_up,
        down_bytes=life_down - base_down,
        life_up_bytes=life_up,
        life_down_bytes=life_down,
        period_start_ms=period_start,
        first_used_ms=first,
        last_used_ms=max(last or 0, billed[2]) or None,
    )
