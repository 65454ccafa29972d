"""Usage by the hour: closed hours as rows, open ones as what meters have moved since (rows H9, R4, T3).

What always holds: every read has the closed hours of the database and of the months' files, and the open
hours, which are meter minus opening; all on one snapshot. `volume` is the sum of `history` by endpoint, so
that what nodes and endpoints moved need not be added up from everybody's rows.

Why there is no third file for what is active: a report moves meters on, closes hours and charges users in
one transaction, and a commit over two files of SQLite in WAL mode is atomic for each of them alone: a kill or
a power cut between the two would charge bytes and forget their meter, or the other way round. So meters,
counters and open hours stay in user.db with the verdicts that follow from them, and only what no report
touches any more, a month that is over, moves out.
"""

import heapq
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter

from collector.domain.history import NOTHING, Amount, Moved, Order, Span, largest, total
from collector.store import archive
from collector.store.archive import Shelf
from collector.store.session import Session
from shared.names import MAX_BYTES, EndpointId, NodeId, UserId

Hours = dict[int, Amount]
_Rows = Mapping[tuple[int, ...], Sequence[int]]
_Sums = dict[tuple[int, ...], list[int]]

_BYTES = ("up_bytes", "down_bytes", "billed_up_bytes", "billed_down_bytes")
#: A sum in two halves, put together again here: as one it may be larger than a column.
_HALF_BITS = 32
_SUMS = ", ".join(
    f"SUM(h.{name} >> {_HALF_BITS}), SUM(h.{name} & {(1 << _HALF_BITS) - 1})" for name in _BYTES
)
_OPEN = """
    (SELECT o.hour, o.user_id, o.endpoint_id, o.ledger_id, m.up_bytes - o.up_bytes AS up_bytes,
            m.down_bytes - o.down_bytes AS down_bytes,
            m.billed_up_bytes - o.billed_up_bytes AS billed_up_bytes,
            m.billed_down_bytes - o.billed_down_bytes AS billed_down_bytes
     FROM opening AS o JOIN meter AS m
     ON m.ledger_id = o.ledger_id AND m.user_id = o.user_id AND m.endpoint_id = o.endpoint_id) AS h
"""
_IN_SPAN = "h.hour >= ? AND h.hour < ?"


def add(session: Session, rows: Iterable[Moved]) -> None:
    """Add to closed hours; what was there of the same hour, user and endpoint stays."""
    moved: _Sums = {}
    volumes: _Sums = {}
    for hour, user, endpoint, *amount in rows:
        _grow(moved, (hour, user, endpoint), amount)
        _grow(volumes, (hour, endpoint), amount)
    _upsert(session, "history", ("hour", "user_id", "endpoint_id"), moved)
    _upsert(session, "volume", ("hour", "endpoint_id"), volumes)


def close(session: Session, ledger: int) -> None:
    """Add what every meter of a ledger moved in its open hour; the caller then moves the openings on."""
    names = ", ".join(_BYTES)
    session.run(
        f"INSERT INTO history (hour, user_id, endpoint_id, {names})"
        f" SELECT h.hour, h.user_id, h.endpoint_id, {', '.join(f'h.{name}' for name in _BYTES)} FROM {_OPEN}"
        " WHERE h.ledger_id = ? AND (h.up_bytes > 0 OR h.down_bytes > 0)"
        f" ON CONFLICT (hour, user_id, endpoint_id) DO UPDATE SET {_added('history')}",
        (ledger,),
    )
    sql = (
        f"SELECT h.hour, h.endpoint_id, {_SUMS} FROM {_OPEN}"
        " WHERE h.ledger_id = ? AND (h.up_bytes > 0 OR h.down_bytes > 0) GROUP BY h.hour, h.endpoint_id"
    )
    volumes: _Rows = {(row[0], row[1]): _amount(row[2:]) for row in session.rows(sql, (ledger,))}
    _upsert(session, "volume", ("hour", "endpoint_id"), volumes)


def of_user(session: Session, user: UserId, span: Span) -> Hours:
    """What a user moved, by the hour. Raises UnusableError."""

    def closed(shelf: Shelf) -> Iterable[Sequence[int]]:
        # One look-up an hour, since rows lie in the order of time.
        hours = shelf.hours("history", span)
        sql = (
            f"SELECT h.hour, {_SUMS} FROM {session.wanted} CROSS JOIN {shelf.table('history')} AS h"
            f" WHERE h.hour = wanted.value AND {_IN_SPAN} AND h.user_id = ? GROUP BY h.hour"
        )
        return shelf.rows(sql, (session.numbers(range(*hours)), *hours, user))

    found = _hours(row for shelf in archive.each_shelf(session, span) for row in closed(shelf))
    return _with(found, _open_hours(session, span, "h.user_id = ?", (user,)))


def open_of_user(session: Session, user: UserId) -> set[int]:
    """The hours to which more may still be added: those in which a meter of his has moved since."""
    sql = f"SELECT DISTINCT h.hour FROM {_OPEN} WHERE h.user_id = ? AND (h.up_bytes > 0 OR h.down_bytes > 0)"
    return {hour for (hour,) in session.rows(sql, (user,))}


def of_endpoints(session: Session, endpoints: Collection[EndpointId], span: Span) -> Hours:
    """What all users moved over these endpoints, by the hour. Raises UnusableError."""
    wanted = sorted(set(endpoints))
    if not wanted:
        return {}
    placed = ", ".join("?" * len(wanted))

    def closed(shelf: Shelf) -> Iterable[Sequence[int]]:
        hours = shelf.hours("volume", span)
        sql = (
            f"SELECT h.hour, {_SUMS} FROM {session.wanted} CROSS JOIN {shelf.table('volume')} AS h"
            f" WHERE h.hour = wanted.value AND {_IN_SPAN} AND h.endpoint_id IN ({placed}) GROUP BY h.hour"
        )
        return shelf.rows(sql, (session.numbers(range(*hours)), *hours, *wanted))

    found = _hours(row for shelf in archive.each_shelf(session, span) for row in closed(shelf))
    nodes = f"SELECT node_id FROM endpoint WHERE id IN ({placed})"
    ledgers = f"SELECT id FROM ledger WHERE node_id IN ({nodes})"
    where = f"h.ledger_id IN ({ledgers}) AND h.endpoint_id IN ({placed})"
    return _with(found, _open_hours(session, span, where, (*wanted, *wanted)))


def of_all(session: Session, span: Span) -> Hours:
    """What everybody moved, by the hour. Raises UnusableError."""

    def closed(shelf: Shelf) -> Iterable[Sequence[int]]:
        sql = f"SELECT h.hour, {_SUMS} FROM {shelf.table('volume')} AS h WHERE {_IN_SPAN} GROUP BY h.hour"
        return shelf.rows(sql, span)

    found = _hours(row for shelf in archive.each_shelf(session, span) for row in closed(shelf))
    return _with(found, _open_hours(session, span, "TRUE", ()))


def top_users(session: Session, span: Span, order: Order, most: int) -> list[tuple[int, Amount]]:
    """The users who moved most, with it. Raises UnusableError."""
    with archive.all_shelves(session, span) as shelves:
        columns = [
            *(_by_number(shelf, f"{shelf.table('history')} AS h", "user_id", span) for shelf in shelves),
            _by_number(archive.here(session), _OPEN, "user_id", span),
        ]
        # Each in the order of ids, so that all of them are never in memory together.
        every = _merged(heapq.merge(*columns, key=itemgetter(0)))
        return largest(every, order, most)


def by_endpoint(session: Session, span: Span) -> dict[EndpointId, Amount]:
    """What was moved over every endpoint. Raises UnusableError."""
    with archive.all_shelves(session, span) as shelves:
        columns = [
            *(_by_number(shelf, f"{shelf.table('volume')} AS h", "endpoint_id", span) for shelf in shelves),
            _by_number(archive.here(session), _OPEN, "endpoint_id", span),
        ]
        return {EndpointId(one): amount for one, amount in _merged(heapq.merge(*columns, key=itemgetter(0)))}


def life(session: Session, node: NodeId) -> Amount:
    """What a node's meters show in all."""
    sql = f"SELECT {_SUMS} FROM meter AS h WHERE h.ledger_id IN (SELECT id FROM ledger WHERE node_id = ?)"
    return _amount(session.rows(sql, (node,))[0])


def _by_number(shelf: Shelf, rows: str, column: str, span: Span) -> Iterator[tuple[int, Amount]]:
    sql = f"SELECT h.{column}, {_SUMS} FROM {rows} WHERE {_IN_SPAN} GROUP BY h.{column} ORDER BY h.{column}"
    for row in shelf.each(sql, span):
        yield row[0], _amount(row[1:])


def _merged(every: Iterable[tuple[int, Amount]]) -> Iterator[tuple[int, Amount]]:
    for number, parts in groupby(every, itemgetter(0)):
        yield number, total(amount for _, amount in parts)


def _open_hours(session: Session, span: Span, where: str, parameters: Sequence[object]) -> Hours:
    sql = f"SELECT h.hour, {_SUMS} FROM {_OPEN} WHERE {where} AND {_IN_SPAN} GROUP BY h.hour"
    return _hours(session.rows(sql, (*parameters, *span)))


def _hours(rows: Iterable[Sequence[int]]) -> Hours:
    found: Hours = {}
    for hour, *halves in rows:
        found[hour] = found.get(hour, NOTHING).plus(_amount(halves))
    return found


def _with(hours: Hours, more: Hours) -> Hours:
    for hour, amount in more.items():
        hours[hour] = hours.get(hour, NOTHING).plus(amount)
    return {hour: amount for hour, amount in hours.items() if any(amount)}


def _amount(halves: Sequence[int | None]) -> Amount:
    whole = [int(half or 0) for half in halves]
    return Amount(*((whole[place] << _HALF_BITS) + whole[place + 1] for place in range(0, 8, 2)))


def _grow(sums: _Sums, key: tuple[int, ...], more: list[int]) -> None:
    if (total_bytes := sums.get(key)) is None:
        sums[key] = more.copy()
        return
    for place in range(len(more)):
        total_bytes[place] += more[place]


def _upsert(session: Session, table: str, key: Sequence[str], rows: _Rows) -> None:
    session.insert_many(
        table,
        (*key, *_BYTES),
        [(*place, *_fitting(rows[place])) for place in sorted(rows)],
        f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {_added(table)}",
    )


def _fitting(amount: Sequence[int]) -> Sequence[int]:
    return amount if max(amount) <= MAX_BYTES else [min(MAX_BYTES, one) for one in amount]


def _added(table: str) -> str:
    """Adds what is there to what comes; a row that is full stays full, or a report would fail every time."""
    return ", ".join(
        f"{name} = CASE WHEN {table}.{name} > {MAX_BYTES} - excluded.{name} THEN {MAX_BYTES}"
        f" ELSE {table}.{name} + excluded.{name} END"
        for name in _BYTES
    )
