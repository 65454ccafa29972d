"""What an event costs to keep, and a page of them to find among a million."""

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from collector.app import events
from collector.domain.access import SYSTEM, Actor, Role
from collector.domain.events import Event, Kind, Subject, Thing, Wanted
from collector.domain.payloads import Changed, Data, Pair, Reset
from collector.store import events as stored
from collector.store.database import Database
from collector.store.session import Session
from tests.bench.asked import Asked
from tests.bench.figure import Figure

_EVENTS = 1_000_000
_BATCH = 1_000
_USERS = 50_000
#: One in so many is somebody's doing.
_PEOPLE = 50
_NOW_MS = 1_800_000_000_000
_STEP_MS = 1_000
_REPEATS = 20

_PAGES = {
    "of all": Wanted(),
    "of a user": Wanted(subject="user:4711"),
    "of an admin": Wanted(actor="admin:7"),
    "of a kind": Wanted(kind=Kind.USER_CHANGED.value),
    "of a user and a kind": Wanted(subject="user:4711", kind=Kind.USER_RESET.value),
    "of the last percent of the time": Wanted(from_ms=_NOW_MS + _EVENTS * _STEP_MS * 99 // 100),
    "of what people did": Wanted(people=True),
    "of a kind that never was": Wanted(kind=Kind.NODE_RESET.value),
}


def measure(asked: Asked) -> list[Figure]:
    """Microseconds of CPU for an event, milliseconds for a page; a quick look has a hundredth."""
    many = _EVENTS // 100 if asked.quick else _EVENTS
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as name:
        db = Database.open(Path(name))
        try:
            one_us = _filled(db, many)
            figures = [Figure(name="CPU of an event, stored", value=one_us, unit="us", goal=40.0)]
            for which, wanted in _PAGES.items():
                value = _page_ms(db, wanted)
                figures.append(
                    Figure(name=f"a page {which} among {many:,}", value=value, unit="ms", goal=250.0)
                )
        finally:
            db.close()
    return figures


def _filled(db: Database, many: int) -> float:
    spent_s = 0.0
    for batch in _batches(many):
        began_s = time.process_time()
        db.write_now(_append, batch)
        spent_s += time.process_time() - began_s
    return round(spent_s / many * 1e6, 2)


def _append(session: Session, batch: list[Event]) -> None:
    # One by one, as most functions do.
    for event in batch:
        stored.append(session, event)


def _batches(many: int) -> Iterator[list[Event]]:
    for first in range(0, many, _BATCH):
        yield [_event(number) for number in range(first, first + _BATCH)]


def _event(number: int) -> Event:
    by_people = number % _PEOPLE == 0
    subject = Subject(Thing.USER, number * 7_919 % _USERS)
    actor = Actor(Role.ADMIN, number % 11) if by_people else SYSTEM
    kind = Kind.USER_CHANGED if by_people else Kind.USER_RESET
    data = _CHANGED if by_people else _RESET
    return Event(at_ms=_NOW_MS + number * _STEP_MS, actor=actor, kind=kind, subject=subject, data=data)


def _page_ms(db: Database, wanted: Wanted) -> float:
    return round(min(_timed_ms(lambda: db.read_now(events.page, 0, 100, wanted)) for _ in range(_REPEATS)), 2)


def _timed_ms(work: Callable[[], object]) -> float:
    began_s = time.monotonic()
    work()
    return (time.monotonic() - began_s) * 1e3


_CHANGED: Data = Changed(name="somebody", changes={"quota_bytes": Pair(before=1, after=10**10)})
_RESET: Data = Reset(
    name="somebody",
    up_bytes=10**9,
    down_bytes=10**10,
    base_up_bytes=10**11,
    base_down_bytes=10**12,
    period_start_ms=_NOW_MS,
    next_start_ms=_NOW_MS + 1,
)
