"""History: a user's month among ten million rows, and a million rows that move while reports wait.

Time in the writer is what a report may have to wait for besides its own work.
"""

import functools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from collector.app import history as app
from collector.domain import history as rules
from collector.domain.history import Moved, Order, Question, Span, Step
from collector.store import history
from collector.store.archive import Batch
from collector.store.database import Database
from collector.store.session import Session
from shared.names import EndpointId, UserId
from tests.bench.asked import Asked
from tests.bench.figure import Figure

_MONTH = 2026 * 12
_HOURS = rules.hours_of_month(_MONTH)
_USERS = 13_440
_ENDPOINTS = 100
_MOVED_USERS = 1_344
_RUNS = 5


def measure(asked: Asked) -> Iterator[Figure]:
    """Both, each in a database of its own; a quick look has a hundredth of the users."""
    share = 100 if asked.quick else 1
    users, moved_users = _USERS // share, _MOVED_USERS // share
    with _opened() as (db, _):
        yield Figure(name="add 10,000 closed hours", value=_adding(db), unit="ms")
        rows = _filled(db, users)
        yield Figure(name="rows asked", value=rows, unit="rows")
        yield from _asking(db, UserId(users // 2), "here")
    with _opened() as (db, directory):
        rows = _filled(db, moved_users)
        yield Figure(name="rows moved", value=rows, unit="rows")
        yield from _moving(db)
        yield from _asking(db, UserId(moved_users // 2), "moved")
        size = sum(file.stat().st_size for file in directory.glob("history-*")) / rows
        yield Figure(name="a row in a month's file", value=round(size, 1), unit="bytes")


@contextmanager
def _opened() -> Iterator[tuple[Database, Path]]:
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as name:
        db = Database.open(Path(name))
        try:
            yield db, Path(name)
        finally:
            db.close()


def _adding(db: Database) -> float:
    taken: list[float] = []
    for place in range(_RUNS):
        rows = [
            Moved(place, UserId(user), EndpointId(user % _ENDPOINTS), 1, 2, 3, 4) for user in range(10_000)
        ]
        taken.append(_ms(functools.partial(db.write_now, history.add, rows)))
    db.write_now(lambda session: session.run("DELETE FROM history"))
    db.write_now(lambda session: session.run("DELETE FROM volume"))
    return round(statistics.median(taken), 1)


def _filled(db: Database, users: int) -> int:
    for first in range(_HOURS.first, _HOURS.past, 24):
        db.write_now(_fill, first, users)
    return users * (_HOURS.past - _HOURS.first)


def _fill(session: Session, first: int, users: int) -> None:
    session.run(
        "WITH u(id) AS (SELECT ? UNION ALL SELECT id - 1 FROM u WHERE id > 1),"
        " h(hour) AS (SELECT ? UNION ALL SELECT hour - 1 FROM h WHERE hour > ?)"
        " INSERT INTO history SELECT hour, id, id % ? + 1, 1000000 * id, 10000000, 1000000 * id, 10000000"
        " FROM h CROSS JOIN u ORDER BY 1, 2",
        (users, first + 23, first, _ENDPOINTS),
    )
    session.run(
        "INSERT INTO volume SELECT hour, endpoint_id, SUM(up_bytes), SUM(down_bytes), SUM(billed_up_bytes),"
        " SUM(billed_down_bytes) FROM history WHERE hour >= ? GROUP BY hour, endpoint_id",
        (first,),
    )


def _asking(db: Database, user: UserId, where: str) -> Iterator[Figure]:
    nodes = [EndpointId(1), EndpointId(2)]
    wanted: dict[str, Callable[[Session], Any]] = {
        "a user's month": lambda session: history.of_user(session, user, _HOURS),
        "a node's month": lambda session: history.of_endpoints(session, nodes, _HOURS),
        "everybody's month": lambda session: history.of_all(session, _HOURS),
        "top nodes of a month": lambda session: history.by_endpoint(session, _HOURS),
        "top users of a day": lambda session: history.top_users(
            session, Span(_HOURS.first, _HOURS.first + 24), Order.RAW, 10
        ),
        "top users of a month": lambda session: history.top_users(session, _HOURS, Order.RAW, 10),
    }
    for name, ask in wanted.items():
        taken = [_ms(functools.partial(db.read_now, ask)) for _ in range(_RUNS if "users" not in name else 1)]
        yield Figure(name=f"{name}, {where}", value=round(statistics.median(taken), 1), unit="ms")


def _moving(db: Database) -> Iterator[Figure]:
    now_ms = _HOURS.past * rules.HOUR_MS
    waits: list[float] = []
    begun_s = time.perf_counter()
    while isinstance(batch := db.read_now(app.copied, now_ms, frozenset()), Batch):
        waits.append(_ms(functools.partial(db.write_now, app.moved, batch)))
    yield Figure(name="moving them", value=round(time.perf_counter() - begun_s, 2), unit="s")
    yield Figure(name="longest wait for the writer", value=round(max(waits), 1), unit="ms")
    yield Figure(name="usual wait for the writer", value=round(statistics.median(waits), 1), unit="ms")
    shown = db.read_now(app.of_all, Question(from_ms=0, to_ms=now_ms, step=Step.MONTH, zone="UTC"), now_ms)
    if shown.points[-1].up != shown.up or not shown.up:
        raise AssertionError("history is not what it was")


def _ms(work: Callable[[], object]) -> float:
    begun_s = time.perf_counter()
    work()
    return (time.perf_counter() - begun_s) * 1000
