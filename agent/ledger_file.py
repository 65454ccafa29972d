"""The tables of a ledger's file: made, brought to the present version, and read into values.

What always holds: a version is never edited; a new file takes the same steps as an old one.
"""

import sqlite3
import uuid
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from agent import ledger_blocks, ledger_marks
from agent.core import plan
from shared.messages import Item, Lease
from shared.names import UserId

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
    4: ledger_blocks.SCHEMA,
}
#: What a step does to rows after its statements.
_CONVERSIONS = {4: ledger_blocks.convert}
VERSION = max(_STEPS)


def prepare(db: sqlite3.Connection) -> bool:
    """Set the connection up; False for a file of a newer agent, which is not touched."""
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    # In KiB: what is written is seldom read again, and a page more to read is a microsecond.
    db.execute("PRAGMA cache_size = -256")
    return version(db) <= VERSION


def migrate(db: sqlite3.Connection) -> None:
    """Make the tables or bring them up to date, within a transaction of the caller's."""
    before = version(db)
    if before == 0:
        for statement in _SCHEMA:
            db.execute(statement)
        put(db, "id", str(uuid.uuid4()))
    for step in range(max(before, 1), VERSION):
        for statement in _STEPS[step + 1]:
            db.execute(statement)
        if convert := _CONVERSIONS.get(step + 1):
            convert(db)
    db.execute(f"PRAGMA user_version = {VERSION}")


def version(db: sqlite3.Connection) -> int:
    """Of the tables in this file; 0 where there are none."""
    (found,) = db.execute("PRAGMA user_version").fetchone()
    return int(found)


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


def leases(db: sqlite3.Connection) -> dict[UserId, Lease]:
    """What was lent, by user."""
    rows = db.execute("SELECT user, terms, spare, total, up, down FROM leases")
    return {user: Lease(user, *rest) for user, *rest in rows}


def put_leases(db: sqlite3.Connection, lent: Iterable[Lease], gone: Iterable[UserId]) -> None:
    """Keep these, and drop those of the users who are gone."""
    db.executemany(
        "INSERT OR REPLACE INTO leases VALUES (?, ?, ?, ?, ?, ?)", map(msgspec.structs.astuple, lent)
    )
    db.executemany("DELETE FROM leases WHERE user = ?", ((user,) for user in gone))


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


def put_holding(db: sqlite3.Connection, before: plan.Holding, after: plan.Holding) -> None:
    """Keep what has changed of the desired state."""
    changed = (item for key, item in after.items.items() if before.items.get(key) != item)
    items = ((item.key, msgspec.json.encode(item)) for item in changed)
    db.executemany(
        "DELETE FROM items WHERE key = ?", ((key,) for key in before.items.keys() - after.items.keys())
    )
    db.executemany("INSERT OR REPLACE INTO items VALUES (?, ?)", items)
    gone = before.stopped.keys() - after.stopped.keys()
    db.executemany("DELETE FROM stopped WHERE user = ?", ((user,) for user in gone))
    stopped = dict(after.stopped.items() - before.stopped.items())
    db.executemany("INSERT OR REPLACE INTO stopped VALUES (?, ?)", stopped.items())
    put(db, "generation", after.generation)
    put(db, "revoked", int(after.revoked))
