"""The agent's durable memory: SQLite in the state directory, and a mirror of it in this process.

What always holds:
- Last reading, its generation and the totals change in one commit (WAL, synchronous=FULL), so a kill or a
  power cut between any two steps neither loses nor doubles a byte that a reading had shown.
- The mirror changes only after the commit. Counters are not reset at the core, so what a failed commit could
  not keep is in the next reading again. Rows hold absolute values: a commit that failed yet reached the disk
  is written over by the next one.
- A new file is a new ledger id: totals of a lost ledger stay with the collector and nothing is billed twice.
"""

import contextlib
import math
import os
import sqlite3
import uuid
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from agent.core import meter, plan
from agent.core.counting import Count, Meter, Reading
from shared.messages import Incident, Item, Lease
from shared.names import EndpointId, LedgerId, UserId

FILE_NAME = "ledger.db"
#: Incidents the collector has not seen; older ones give way, so a year offline does not fill a disk.
MAX_INCIDENTS = 1000

_VERSION = 2
#: Seconds between notes of the last answer: a note is a commit.
_NOTE_ANSWER_S = 60.0
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
#: The statement that brings an older file to each version.
_STEPS: dict[int, str] = {
    2: "CREATE TABLE leases (user INTEGER PRIMARY KEY, terms INTEGER NOT NULL, spare INTEGER NOT NULL,"
    " total INTEGER, up INTEGER, down INTEGER)",
}


class LedgerError(Exception):
    """The ledger cannot be read or written; the text says what to do."""


class Ledger:
    """One open ledger. Not for threads: the event loop is its only writer."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._db = connection
        self._path = path
        facts = dict(connection.execute("SELECT name, value FROM facts"))
        self.id = LedgerId(facts["id"])
        self._generation: str | None = facts.get("core_generation")
        self._left: set[str] = set()
        self._standings = _standings(connection)
        self._leases = _leases(connection)
        #: How often an agent has begun on this ledger: with a count of its reports it gives them an order.
        self.epoch = int(facts.get("epoch", 0))
        #: When a report was last answered, in seconds since boot; long ago where that was another boot.
        same_boot = facts.get("answered_boot") == boot_id()
        self.answered_boot_s = float(facts.get("answered_boot_s", 0)) if same_boot else -math.inf
        self._held = _holding(connection, facts)

    @property
    def standings(self) -> Mapping[Meter, meter.Standing]:
        """Every meter ever counted."""
        return MappingProxyType(self._standings)

    @property
    def core_generation(self) -> str | None:
        """The core that was counted last; another one has counted for another ledger."""
        return self._generation

    @property
    def leases(self) -> Mapping[UserId, Lease]:
        """Up to where limited users may be served."""
        return MappingProxyType(self._leases)

    @property
    def held(self) -> plan.Holding:
        """The desired state as last kept."""
        return self._held

    def total(self, which: Meter) -> Count:
        """Bytes of one meter since the ledger began; none for one that was never counted."""
        standing = self._standings.get(which)
        return Count(0, 0) if standing is None else standing.total

    def book(self, reading: Reading) -> dict[Meter, Count]:
        """Keep a reading and return the totals it changed. Raises LedgerError with nothing changed."""
        if reading.generation in self._left:
            raise LedgerError("a reading arrived from a core that had been replaced: it was not booked")
        changed = meter.advance(self._standings, reading)
        renewed = reading.generation != self._generation
        if not changed and not renewed:
            return {}
        with self._commit() as db:
            db.executemany(
                "INSERT OR REPLACE INTO meters VALUES (?, ?, ?, ?, ?, ?, ?)",
                ((*which, *standing) for which, standing in changed.items()),
            )
            if renewed:
                _put(db, "core_generation", reading.generation)
        if renewed and self._generation is not None:
            self._left.add(self._generation)
        self._generation = reading.generation
        before = self._standings
        grown = {w: s.total for w, s in changed.items() if w not in before or s.total != before[w].total}
        before.update(changed)
        return grown

    def preview(self, reading: Reading) -> dict[Meter, Count]:
        """The totals that booking this reading would change; nothing is kept."""
        return {which: one.total for which, one in meter.advance(self._standings, reading).items()}

    def hold(self, held: plan.Holding) -> None:
        """Keep the desired state; only what changed is written."""
        before = self._held
        if held == before:
            return
        items = [(key, msgspec.json.encode(i)) for key, i in held.items.items() if before.items.get(key) != i]
        stopped = dict(held.stopped.items() - before.stopped.items())
        with self._commit() as db:
            db.executemany(
                "DELETE FROM items WHERE key = ?", ((k,) for k in before.items.keys() - held.items.keys())
            )
            db.executemany("INSERT OR REPLACE INTO items VALUES (?, ?)", items)
            gone = before.stopped.keys() - held.stopped.keys()
            db.executemany("DELETE FROM stopped WHERE user = ?", ((user,) for user in gone))
            db.executemany("INSERT OR REPLACE INTO stopped VALUES (?, ?)", stopped.items())
            _put(db, "generation", held.generation)
            _put(db, "revoked", int(held.revoked))
        self._held = held

    def lend(self, leases: Collection[Lease], gone: Collection[UserId]) -> None:
        """Keep these leases and drop those of the users who are gone. Raises LedgerError, nothing changed."""
        if not leases and not gone:
            return
        with self._commit() as db:
            db.executemany(
                "INSERT OR REPLACE INTO leases VALUES (?, ?, ?, ?, ?, ?)",
                map(msgspec.structs.astuple, leases),
            )
            db.executemany("DELETE FROM leases WHERE user = ?", ((user,) for user in gone))
        self._leases |= {lease.user: lease for lease in leases}
        for user in gone:
            self._leases.pop(user, None)

    def begin_epoch(self, after: int = 0) -> None:
        """Reports from now on are younger than all before, and than all of the epoch `after`."""
        epoch = max(self.epoch, after) + 1
        self.note("epoch", epoch)
        self.epoch = epoch

    def answered(self, boot_s: float) -> None:
        """A report that was sent so many seconds after boot was answered."""
        if boot_s - self.answered_boot_s >= _NOTE_ANSWER_S:
            with self._commit() as db:
                _put(db, "answered_boot", boot_id())
                _put(db, "answered_boot_s", int(boot_s))
            self.answered_boot_s = boot_s

    def note(self, name: str, value: int) -> None:
        """Keep one small fact, such as the time of the last contact."""
        with self._commit() as db:
            _put(db, name, value)

    def fact(self, name: str) -> int | None:
        """A fact kept by `note`."""
        rows = self._query("SELECT value FROM facts WHERE name = ?", name)
        return int(rows[0][0]) if rows else None

    def incident(self, kind: str, detail: str, *, at_ms: int) -> Incident:
        """Keep an incident until the collector has seen it.

        Numbers start at the time of the first, so those of a new ledger are above any that a lost one used.
        """
        used = self._query("SELECT seq FROM sqlite_sequence WHERE name = 'incidents'")
        number = max(at_ms, used[0][0] + 1 if used else 0)
        with self._commit() as db:
            db.execute("INSERT INTO incidents VALUES (?, ?, ?, ?)", (number, at_ms, kind, detail))
            db.execute(
                "DELETE FROM incidents WHERE number <= "
                "(SELECT number FROM incidents ORDER BY number DESC LIMIT 1 OFFSET ?)",
                (MAX_INCIDENTS,),
            )
        return Incident(number=number, at_ms=at_ms, kind=kind, detail=detail)

    def incidents(self, limit: int = 100) -> list[Incident]:
        """The oldest incidents not yet seen by the collector."""
        rows = self._query("SELECT number, at_ms, kind, detail FROM incidents ORDER BY number LIMIT ?", limit)
        return [Incident(number=n, at_ms=at, kind=kind, detail=detail) for n, at, kind, detail in rows]

    def forget_incidents(self, seen: int) -> None:
        """Drop incidents up to the highest number the collector has stored."""
        if self._query("SELECT 1 FROM incidents WHERE number <= ? LIMIT 1", seen):
            with self._commit() as db:
                db.execute("DELETE FROM incidents WHERE number <= ?", (seen,))

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _query(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        try:
            return self._db.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise LedgerError(damaged(self._path, error)) from error

    @contextlib.contextmanager
    def _commit(self) -> Iterator[sqlite3.Connection]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield self._db
            self._db.execute("COMMIT")
        except (sqlite3.Error, OverflowError) as error:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise LedgerError(
                f"the ledger {self._path} cannot be written ({error}): "
                "free space on its disk or repair it; nothing was lost, counting goes on at the core"
            ) from error


def boot_id() -> str:
    """The kernel's name for this boot: times since boot compare within it only."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def open_ledger(path: Path) -> Ledger:
    """Open the ledger or begin a new one, readable by its owner only."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        connection = sqlite3.connect(path, isolation_level=None, timeout=5.0)
    except (OSError, sqlite3.Error) as error:
        raise LedgerError(f"the ledger {path} cannot be opened: {error}") from error
    try:
        _prepare(connection, path)
        return Ledger(connection, path)
    except (sqlite3.Error, msgspec.MsgspecError, KeyError) as error:
        connection.close()
        raise LedgerError(damaged(path, error)) from error
    except LedgerError:
        connection.close()
        raise


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > _VERSION:
        raise LedgerError(f"the ledger {path} was written by a newer agent: install that version again")
    if version < _VERSION:
        db.execute("BEGIN IMMEDIATE")
        if version == 0:
            for statement in _SCHEMA:
                db.execute(statement)
            _put(db, "id", str(uuid.uuid4()))
        for step in range(max(version, 1), _VERSION):
            db.execute(_STEPS[step + 1])
        db.execute(f"PRAGMA user_version = {_VERSION}")
        db.execute("COMMIT")
    (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise LedgerError(damaged(path, verdict))


def damaged(path: Path, what: object) -> str:
    """What to tell an operator whose ledger cannot be read."""
    return (
        f"the ledger {path} is damaged ({what}): move it away and start again; "
        "a new ledger begins, what was reported stays billed and nothing is billed twice"
    )


def _standings(db: sqlite3.Connection) -> dict[Meter, meter.Standing]:
    generations: dict[str, str] = {}
    standings: dict[Meter, meter.Standing] = {}
    for user, endpoint, up, down, last_up, last_down, text in db.execute("SELECT * FROM meters"):
        # One string for all rows of a generation: ten thousand copies would be a megabyte.
        generation = generations.setdefault(text, text)
        which = Meter(UserId(user), EndpointId(endpoint))
        standings[which] = meter.Standing(up, down, last_up, last_down, generation)
    return standings


def _leases(db: sqlite3.Connection) -> dict[UserId, Lease]:
    rows = db.execute("SELECT user, terms, spare, total, up, down FROM leases")
    return {user: Lease(user, *rest) for user, *rest in rows}


def _holding(db: sqlite3.Connection, facts: Mapping[str, int]) -> plan.Holding:
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


def _put(db: sqlite3.Connection, name: str, value: str | int) -> None:
    db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))
