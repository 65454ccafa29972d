"""Managers and their counters.

What always holds: bytes and holdings are added by the database itself, to a manager and everybody above him
in one order, so that nothing that is added at the same time is lost. Who is removed keeps his place in line.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from msgspec import structs

from collector.domain import lines, managers, validity
from collector.domain.leases import Bytes, Ceilings
from collector.domain.lines import Place
from collector.domain.managers import Manager
from collector.domain.resets import Anchor, Mode
from collector.domain.users import Status
from collector.store import ids
from collector.store.session import Session
from shared.names import MAX_BYTES, ManagerId

_PLAIN = (
    *("name", "status", "reason", "quota_bytes", "up_limit_bytes", "down_limit_bytes"),
    *("max_sessions", "max_online", "max_active", "notice_percent", "notices", "penalty_s", "due_ms"),
)
_TIMES = ("reset", "reset_anchor", "reset_day", "reset_month", "zone", "duration_s", "start_at_ms")
_CHANGEABLE = ("parent_id", "name_key", *_PLAIN, *_TIMES)
_COUNTERS = (
    *("up_bytes", "down_bytes", "life_up_bytes", "life_down_bytes", "period_start_ms", "first_ms"),
    *("held_total_bytes", "held_up_bytes", "held_down_bytes"),
)
_COLUMNS = ", ".join(
    [f"m.{name}" for name in ("id", "parent_id", "created_ms", *_PLAIN, *_TIMES)]
    + [f"c.{name}" for name in _COUNTERS]
)
_SELECT = f"SELECT {_COLUMNS} FROM manager m JOIN manager_counter c ON c.manager_id = m.id"
#: The managers of a table `wanted`, and everybody above them, each once.
_LINE = (
    "WITH RECURSIVE line(id) AS (SELECT m.id FROM {} JOIN manager m ON m.id = wanted.value"
    " UNION SELECT m.parent_id FROM line JOIN manager m ON m.id = line.id WHERE m.parent_id IS NOT NULL) "
)
_PLACES = (
    "SELECT m.id, m.parent_id, m.due_ms, c.first_ms, m.notice_percent, m.quota_bytes, m.up_limit_bytes,"
    " m.down_limit_bytes, c.up_bytes, c.down_bytes"
    " FROM line JOIN manager m ON m.id = line.id JOIN manager_counter c ON c.manager_id = line.id"
)
_MODES = {mode.value: mode for mode in Mode}
_ANCHORS = {anchor.value: anchor for anchor in Anchor}
_FULL = f"CASE WHEN {{0}} > {MAX_BYTES} - ? THEN {MAX_BYTES} ELSE {{0}} + ? END"
_IN_PERIOD = f"CASE WHEN period_start_ms > ? THEN {{0}} ELSE {_FULL} END"
#: What was lent before a user had a manager may be given back to one who never held it.
_AT_LEAST_0 = "CASE WHEN {0} + ? < 0 THEN 0 ELSE {0} + ? END"

_BYTES = ("up_bytes", "down_bytes", "life_up_bytes", "life_down_bytes")


class Turn(NamedTuple):
    """A manager before and after something that changed what he may have served, or ended his period."""

    before: Manager
    after: Manager


def insert(session: Session, manager: Manager) -> Manager:
    """Store a new manager; returns him with his id."""
    number = ManagerId(ids.following(session, "manager"))
    names = ", ".join(("id", "created_ms", *_CHANGEABLE))
    marks = ", ".join("?" * (len(_CHANGEABLE) + 2))
    session.run(
        f"INSERT INTO manager ({names}, credential) VALUES ({marks}, 0)",
        (number, manager.created_ms, *_changeable(manager)),
    )
    session.run(
        "INSERT INTO manager_counter (manager_id, period_start_ms, up_bytes, down_bytes, life_up_bytes,"
        " life_down_bytes, held_total_bytes, held_up_bytes, held_down_bytes)"
        " VALUES (?, ?, 0, 0, 0, 0, 0, 0, 0)",
        (number, manager.period_start_ms),
    )
    return structs.replace(manager, id=number)


def one(session: Session, manager: ManagerId) -> Manager | None:
    """A manager who is not removed."""
    found = _all(session, " WHERE m.id = ? AND m.removed_ms IS NULL", (manager,))
    return found[0] if found else None


def every(session: Session) -> list[Manager]:
    """All managers who are not removed, by id."""
    return _all(session, " WHERE m.removed_ms IS NULL ORDER BY m.id", ())


def below(session: Session, top: ManagerId) -> list[Manager]:
    """A manager and everybody below him who is not removed, by id."""
    line = (
        "WITH RECURSIVE line(id) AS (SELECT id FROM manager WHERE id = ?"
        " UNION SELECT m.id FROM line JOIN manager m ON m.parent_id = line.id) "
    )
    where = " WHERE m.removed_ms IS NULL AND m.id IN (SELECT id FROM line) ORDER BY m.id"
    return _all(session, where, (top,), line)


def chains(session: Session, wanted: Iterable[ManagerId]) -> dict[ManagerId, tuple[Manager, ...]]:
    """Each of these managers with everybody above him, from himself to the root; removed ones included."""
    leaves = sorted(set(wanted))
    line, where = _LINE.format(session.wanted), " WHERE m.id IN (SELECT id FROM line)"
    found = {one.id: one for one in _all(session, where, (session.numbers(leaves),), line)}
    return {leaf: tuple(_line(found, leaf)) for leaf in leaves if leaf in found}


def holder(session: Session, name: str, but: ManagerId | None = None) -> ManagerId | None:
    """Who holds this name already."""
    rows = session.rows("SELECT id FROM manager WHERE name_key = ? AND id <> ?", (name, but or 0))
    return ManagerId(rows[0][0]) if rows else None


def due(session: Session, now_ms: int, limit: int) -> list[Manager]:
    """Managers of whom time has changed something by now, those who wait longest first."""
    return _all(
        session, " WHERE m.due_ms <= ? AND m.removed_ms IS NULL ORDER BY m.due_ms LIMIT ?", (now_ms, limit)
    )


def zones(session: Session) -> list[str]:
    """The zones that managers have."""
    return [zone for (zone,) in session.rows("SELECT DISTINCT zone FROM manager ORDER BY zone")]


def save(session: Session, manager: Manager) -> None:
    """Store what may change of a manager besides his counters of bytes."""
    session.hot.forget_managers()
    news = ", ".join(f"{name} = ?" for name in _CHANGEABLE)
    session.run(
        f"UPDATE manager SET {news} WHERE id = ?",
        (*_changeable(manager), manager.id),
    )
    session.run(
        "UPDATE manager_counter SET period_start_ms = ? WHERE manager_id = ?",
        (manager.period_start_ms, manager.id),
    )


def save_standing(session: Session, changed: Iterable[Manager]) -> None:
    """Store status, reason and the next due moment of many managers; the removed have none."""
    session.hot.forget_managers()
    session.run_many(
        "UPDATE manager SET status = ?, reason = ?,"
        " due_ms = CASE WHEN removed_ms IS NULL THEN CAST(? AS BIGINT) END WHERE id = ?",
        [(one.status.value, one.reason, one.due_ms, one.id) for one in changed],
    )


def begin_periods(session: Session, turned: Iterable[Manager]) -> None:
    """Begin the periods that these are in with counters of nothing; one that has begun is left alone."""
    session.hot.forget_managers()
    session.run_many(
        "UPDATE manager_counter SET up_bytes = 0, down_bytes = 0, period_start_ms = ?"
        " WHERE manager_id = ? AND period_start_ms < ?",
        [(one.period_start_ms, one.id, one.period_start_ms) for one in turned],
    )


def remove(session: Session, manager: ManagerId, now_ms: int) -> None:
    """Mark a manager as removed; his name is free again and his login is void."""
    session.hot.forget_managers()
    session.run(
        "UPDATE manager SET removed_ms = ?, name_key = NULL, due_ms = NULL, password_hash = NULL,"
        " credential = credential + 1 WHERE id = ?",
        (now_ms, manager),
    )


def roll_up(session: Session, sums: Mapping[ManagerId, tuple[int, int]], at_ms: int) -> list[Turn]:
    """Add the billed bytes, up and down, of users directly below each manager to him and everybody above.

    They were used at this moment: periods that were over by then end first, and in one that began later they
    do not count. Returns the managers whose standing or period changed by it, or who came near a limit of
    bytes; they are the only ones that are read in full.
    """
    places = _places(session, sums)
    added = lines.added(sums, places)
    moved = [number for number, (up, down) in added.items() if not places[number].takes(up + down, at_ms)]
    turns = [Turn(one, managers.charged(one, *added[one.id], at_ms)) for one in _among(session, moved)]
    if turns:
        begin_periods(session, (turn.after for turn in turns))
    news = ", ".join(f"{name} = " + _IN_PERIOD.format(name) for name in _BYTES[:2])
    life = ", ".join(f"{name} = " + _FULL.format(name) for name in _BYTES[2:])
    session.run_many(
        f"UPDATE manager_counter SET {news}, {life}, first_ms = COALESCE(first_ms, ?) WHERE manager_id = ?",
        [
            (*(at_ms, up, up), *(at_ms, down, down), *(up, up, down, down), at_ms, number)
            for number, (up, down) in sorted(added.items())
        ],
    )
    if turns:
        save_standing(session, [turn.after for turn in turns])
    return [turn for turn in turns if managers.differs(*turn)]


def reserve(session: Session, deltas: Mapping[ManagerId, Bytes]) -> None:
    """Add to what leases hold of each manager and everybody above him; what is given back is negative."""
    added = lines.added(deltas, _places(session, deltas))
    names = ("held_total_bytes", "held_up_bytes", "held_down_bytes")
    news = ", ".join(f"{name} = " + _AT_LEAST_0.format(name) for name in names)
    session.run_many(
        f"UPDATE manager_counter SET {news} WHERE manager_id = ?",
        [(total, total, up, up, down, down, number) for number, (total, up, down) in sorted(added.items())],
    )


def _places(session: Session, leaves: Iterable[ManagerId]) -> Mapping[ManagerId, Place]:
    """At least these managers and everybody above them, as they are remembered, or else read."""
    session.hot.touch()
    known = session.hot.managers
    if unknown := [leaf for leaf in leaves if leaf not in known]:
        rows = session.rows(_LINE.format(session.wanted) + _PLACES, (session.numbers(unknown),))
        for number, parent, due_ms, first_ms, percent, quota, up_limit, down_limit, up, down in rows:
            limits, used = Ceilings(quota, up_limit, down_limit), Bytes(up + down, up, down)
            # The first bytes of all are looked at: they begin his time.
            room = 0 if first_ms is None else lines.room(limits, percent, used)
            known[number] = Place(parent, due_ms, room)
    return known


def _among(session: Session, wanted: Collection[ManagerId]) -> list[Manager]:
    where = f" WHERE m.id IN (SELECT value FROM {session.wanted}) ORDER BY m.id"
    return _all(session, where, (session.numbers(wanted),)) if wanted else []


def _all(session: Session, where: str, parameters: Sequence[object], line: str = "") -> list[Manager]:
    return [_manager(row) for row in session.rows(line + _SELECT + where, parameters)]


def _line(found: Mapping[ManagerId, Manager], leaf: ManagerId) -> Iterator[Manager]:
    number: ManagerId | None = leaf
    while number is not None:
        yield found[number]
        number = found[number].parent


def _changeable(manager: Manager) -> tuple[object, ...]:
    valid, schedule = manager.validity, manager.validity.schedule
    return (
        *(manager.parent, manager.name, manager.name, manager.status.value),
        *(getattr(manager, name) for name in _PLAIN[2:]),
        *(schedule.mode.value, schedule.anchor.value, schedule.day, schedule.month, schedule.zone),
        *(valid.duration_s, valid.start_at_ms),
    )


def _manager(row: tuple[Any, ...]) -> Manager:
    number, parent, created, name, status = row[:5]
    plain = dict(zip(_PLAIN[2:], row[5:16], strict=True))
    mode, anchor, *others = row[16:23]
    up, down, life_up, life_down, period_start, first, *held = row[23:]
    return Manager(
        id=number,
        parent=parent,
        name=name,
        status=Status(status),
        validity=validity.made(_MODES[mode], _ANCHORS[anchor], *others),
        up_bytes=up,
        down_bytes=down,
        life_up_bytes=life_up,
        life_down_bytes=life_down,
        period_start_ms=period_start,
        held=Bytes(*held),
        created_ms=created,
        first_used_ms=first,
        **plain,
    )
