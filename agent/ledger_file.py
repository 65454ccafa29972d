"""The tables of a ledger's file: made, brought to the present version, and read into values.

What always holds: a version is never edited; a new file takes the same steps as an old one.
"""

import itertools
import sqlite3
import uuid
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from agent import ledger_marks
from agent.core import meter, plan
from agent.core.counting import Meter
from shared.messages import Item, Lease
from shared.names import EndpointId, UserId

_GENERATION = "core_generation"
_QUARTER = "core_quarter"


class Source(NamedTuple):
    """What counts: its process, and the quarter of an hour in which the interval since its reading began."""

    generation: str
    quarter: int


_SCHEMA = (
    "CREATE TABLE facts (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID",
    (
        "CREATE TABLE meters (user INTEGER, endpoint INTEGER, up INTEGER NOT NULL, down INTEGER NOT NULL,"
        " last_up INTEGER NOT NULL, last_down INTEGER NOT NULL, generation TEXT NOT NULL,"
        " PRIMARY KEY (user, endpoint)) WITHOUT ROWID"
    ),
    "CREATE TABLE items (key TEXT PRIMARY KEY, item BLOB NOT NULL) WITHOUT ROWID",
    "CREATE TABLE stopped (user INTEGER PRIMARY KEY, generation INTEGER NOT NULL)",
    (
        "CREATE TABLE incidents (number INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL,"
        " kind TEXT NOT NULL, detail TEXT NOT NULL)"
    ),
)
#: The statements that bring an older file to each version.
_STEPS: dict[int, tuple[str, ...]] = {
    2: (
        (
            "CREATE TABLE leases (user INTEGER PRIMARY KEY, terms INTEGER NOT NULL, spare INTEGER NOT NULL,"
            " total INTEGER, up INTEGER, down INTEGER)"
        ),
    ),
    3: (
        "ALTER TABLE meters ADD COLUMN quarter INTEGER NOT NULL DEFAULT 0",
        # An older agent did not keep when a total was reached; it was not after this moment.
        "UPDATE meters SET quarter = CAST(strftime('%s', 'now') AS INTEGER) / 900",
        ledger_marks.SCHEMA,
    ),
}
_VERSION = max(_STEPS)
_PUT = (
    "INSERT OR REPLACE INTO meters (user, endpoint, up, down, quarter, last_up, last_down, generation)"
    " VALUES "
)
_ROW = "(?, ?, ?, ?, ?, ?, ?, ?)"
#: Rows a statement: half the time of a statement each, and more are no faster.
_TOGETHER = 64
_ROWS = ", ".join([_ROW] * _TOGETHER)


def prepare(db: sqlite3.Connection) -> bool:
    """Make the tables or bring them up to date; False for a file of a newer agent, which is not touched."""
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    # In KiB: the meters of ten thousand users are half of it.
    db.execute("PRAGMA cache_size = -1024")
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > _VERSION:
        return False
    if version < _VERSION:
        db.execute("BEGIN IMMEDIATE")
        if version == 0:
            for statement in _SCHEMA:
                db.execute(statement)
            put(db, "id", str(uuid.uuid4()))
        for step in range(max(version, 1), _VERSION):
            for statement in _STEPS[step + 1]:
                db.execute(statement)
        db.execute(f"PRAGMA user_version = {_VERSION}")
        db.execute("COMMIT")
    return True


def put(db: sqlite3.Connection, name: str, value: str | int) -> None:
    """Set one small fact."""
    db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))


def put_source(db: sqlite3.Connection, name: str, source: Source) -> None:
    """Keep which process of a source was read last, and when."""
    put(db, _GENERATION + name, source.generation)
    put(db, _QUARTER + name, source.quarter)


def sources(facts: Mapping[str, Any]) -> dict[str, Source]:
    """What was counted, by name; an older agent knew of one source only, and kept no quarter with it."""
    names = [fact.removeprefix(_GENERATION) for fact in facts if fact.startswith(_GENERATION)]
    return {
        name: Source(facts[_GENERATION + name], int(facts.get(_QUARTER + name, facts.get("quarter", 0))))
        for name in names
    }


def standings(db: sqlite3.Connection) -> dict[Meter, meter.Standing]:
    """Every meter ever counted."""
    generations: dict[str, str] = {}
    found: dict[Meter, meter.Standing] = {}
    rows = db.execute("SELECT user, endpoint, up, down, quarter, last_up, last_down, generation FROM meters")
    for user, endpoint, up, down, quarter, last_up, last_down, text in rows:
        # One string for all rows of a generation: ten thousand copies would be a megabyte.
        generation = generations.setdefault(text, text)
        which = Meter(UserId(user), EndpointId(endpoint))
        found[which] = meter.Standing(up, down, quarter, last_up, last_down, generation)
    return found


def put_standings(db: sqlite3.Connection, changed: Mapping[Meter, meter.Standing]) -> None:
    """Keep these, in the order of the table: in any other ten thousand take half as long again."""
    left = iter(sorted(changed))
    while part := list(itertools.islice(left, _TOGETHER)):
        values: list[str | int] = []
        for which in part:
            values += which
            values += changed[which]
        rows = _ROWS if len(part) == _TOGETHER else ", ".join([_ROW] * len(part))
        db.execute(_PUT + rows, values)


def leases(db: sqlite3.Connection) -> dict[UserId, Lease]:
    """What was lent, by user."""
    rows = db.execute("SELECT user, terms, spare, total, up, down FROM leases")
    return {user: Lease(user, *rest) for user, *rest in rows}


def holding(db: sqlite3.Connection, facts: Mapping[str, int]) -> plan.Holding:
    """The desired state as last kept."""
    decoder = msgspec.json.Decoder(Item)
    return plan.Holding(
        generation=facts.get("generation", 0),
        items={key: decoder.decode(item) for key, item in db.execute("SELECT key, item FROM items")},
        stopped={
            UserId(user): generation
            for user, generation in db.execute("SELECT user, generation FROM stopped")
        },
        revoked=bool(facts.get("revoked", 0)),
    )
