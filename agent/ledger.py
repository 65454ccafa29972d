"""The agent's durable memory: SQLite in the state directory, and a mirror of it in this process.

What always holds:
- Last reading, its generation, the totals and the marks of earlier quarters change in one commit (WAL,
  synchronous=FULL), so a kill or a power cut between any two steps neither loses nor doubles a byte that a
  reading had shown, nor the time of its use.
- The mirror changes only after the commit. Counters are not reset at the core, so what a failed commit could
  not keep is in the next reading again. Rows hold absolute values: a commit that failed yet reached the disk
  is written over by the next one.
- A new file is a new ledger id: totals of a lost ledger stay with the collector and nothing is billed twice.
"""

import contextlib
import math
import os
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from agent import ledger_blocks, ledger_file, ledger_marks
from agent.core import marks, meter, plan
from agent.core.counting import Count, Counts, Meter, Reading
from agent.core.standings import Chosen, Standing, Standings
from shared.messages import Incident, Lease, Past, Report
from shared.names import LedgerId, UserId

FILE_NAME = "ledger.db"
#: Incidents the collector has not seen; older ones give way, so a year offline does not fill a disk.
MAX_INCIDENTS = 1000

#: Errors of SQLite that say nothing against what is in the file.
_FROM_OUTSIDE = (
    *(sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY),
    *(sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM),
)
#: Seconds between notes of the last answer: a note is a commit.
_NOTE_ANSWER_S = 60.0


class LedgerError(Exception):
    """The ledger cannot be read or written; the text says what to do."""


class Ledger:
    """One open ledger. Not for threads: the event loop is its only writer."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._db = connection
        self._path = path
        facts = dict(connection.execute("SELECT name, value FROM facts"))
        self.id = LedgerId(facts["id"])
        self._sources = ledger_file.sources(facts)
        self._left: set[str] = set()
        #: Of each source the last reading in columns that is in the standings.
        self._booked: dict[str, Reading] = {}
        #: The quarter of an hour of the last reading; 0 before the first.
        self.quarter = int(facts.get("quarter", 0))
        #: Whether there are totals of earlier quarters to tell.
        self.marked = bool(connection.execute(ledger_marks.ANY).fetchall())
        self._standings = ledger_blocks.load(connection)
        #: Meters whose present total the collector has confirmed, as far as this process knows.
        self.confirmed = Chosen(self._standings)
        self._leases = ledger_file.leases(connection)
        #: How often an agent has begun on this ledger: with a count of its reports it gives them an order.
        self.epoch = int(facts.get("epoch", 0))
        #: The serial of the last leases that were taken.
        self.serial = int(facts.get("serial", 0))
        #: When a report was last answered, in seconds since boot; long ago where that was another boot.
        same_boot = facts.get("answered_boot") == boot_id()
        self.answered_boot_s = float(facts.get("answered_boot_s", 0)) if same_boot else -math.inf
        self._held = ledger_file.holding(connection, facts)

    @property
    def standings(self) -> Mapping[Meter, Standing]:
        """Every meter ever counted."""
        return self._standings

    @property
    def totals(self) -> Counts:
        """Bytes of every meter since the ledger began."""
        return self._standings.totals()

    def generation(self, source: str = "") -> str | None:
        """The process of a source that was counted last; another one has counted for another ledger."""
        counted = self._sources.get(source)
        return None if counted is None else counted.generation

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

    def book(self, reading: Reading, at_ms: int) -> Counts:
        """Keep a reading and return the totals that grew. Raises LedgerError with nothing changed.

        `at_ms` is a moment before the counters were read: what they count later is of its quarter or a later.
        """
        if self.replaced(reading.generation):
            raise LedgerError("a reading arrived from a core that had been replaced: it was not booked")
        now = marks.quarter(at_ms)
        last = self._sources.get(reading.source)
        try:
            new = self._advanced(self._standings, reading, (last.quarter if last else 0) or now)
        except OverflowError as error:
            raise LedgerError(f"a reading has a counter that no ledger can keep: {error}") from error
        counted = ledger_file.Source(reading.generation, now)
        if new.changed or counted != last or now != self.quarter:
            self._keep(new, reading.source, counted, now)
        if last is not None and last.generation != counted.generation:
            self._left.add(last.generation)
        self._sources[reading.source] = counted
        self._remember(reading)
        return new.totals

    def replaced(self, generation: str) -> bool:
        """Whether another process has been counted after this one: its readings are never booked again."""
        return generation in self._left

    def preview(self, readings: Iterable[Reading]) -> Counts:
        """The totals that booking these, one after the other, would make grow; nothing is kept."""
        stands, grown = self._standings, set[int]()
        for reading in readings:
            with contextlib.suppress(OverflowError):
                new = self._advanced(stands, reading, self.quarter)
                stands = new.standings
                grown.update(new.grown)
        return stands.totals(sorted(grown))

    def marks(self, limit: int) -> list[Past]:
        """The oldest totals of earlier quarters that are not confirmed."""
        return [Past(*row) for row in self._query(ledger_marks.OLDEST, limit)] if self.marked else []

    def confirm(self, report: Report) -> None:
        """A report was answered: what it told need not be kept as a mark. Raises LedgerError."""
        if self.marked:
            with self._commit() as db:
                ledger_marks.drop(db, report)
            self.marked = bool(self._query(ledger_marks.ANY))
        self.confirmed.add(marks.present(self._standings, report))

    def hold(self, held: plan.Holding) -> None:
        """Keep the desired state; only what changed is written."""
        before = self._held
        if held == before:
            return
        with self._commit() as db:
            ledger_file.put_holding(db, before, held)
        self._held = held

    def lend(self, leases: Collection[Lease], gone: Collection[UserId], serial: int = 0) -> None:
        """Keep these leases and drop those of the users who are gone. Raises LedgerError, nothing changed.

        `serial` is that of the batch that the leases are of; a node lowers its own without one.
        """
        if not leases and not gone:
            return
        serial = max(self.serial, serial) if leases else self.serial
        with self._commit() as db:
            ledger_file.put_leases(db, leases, gone)
            if serial != self.serial:
                ledger_file.put(db, "serial", serial)
        self.serial = serial
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
                ledger_file.put(db, "answered_boot", boot_id())
                ledger_file.put(db, "answered_boot_s", int(boot_s))
            self.answered_boot_s = boot_s

    def note(self, name: str, value: int) -> None:
        """Keep one small fact, such as the time of the last contact."""
        with self._commit() as db:
            ledger_file.put(db, name, value)

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

    def _advanced(self, before: Standings, reading: Reading, quarter: int) -> meter.Advanced:
        booked = self._booked.get(reading.source)
        since = booked.counts if booked and booked.generation == reading.generation else None
        return meter.advance(before, reading, quarter, self.confirmed, since)

    def _keep(self, new: meter.Advanced, source: str, counted: ledger_file.Source, now: int) -> None:
        before, after = self._standings, new.standings
        left = marks.left_behind(before, after, new.grown, self.confirmed)
        with self._commit() as db:
            ledger_blocks.put(db, after, new.changed, len(before))
            if counted != self._sources.get(source):
                ledger_file.put_source(db, source, counted)
            if left:
                ledger_marks.keep(db, left)
            if now != self.quarter:
                self._turn(db, now)
        self._standings, self.quarter = after, now
        self.marked = self.marked or bool(left)
        self.confirmed.follow(after, new.changed)

    def _remember(self, reading: Reading) -> None:
        if isinstance(reading.counts, Counts):
            self._booked[reading.source] = reading

    def _turn(self, db: sqlite3.Connection, now: int) -> None:
        ledger_file.put(db, "quarter", now)
        if self.marked:
            for merge in marks.merges(self.quarter, now):
                ledger_marks.merge(db, merge)

    def _query(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        try:
            return self._db.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise LedgerError(unusable(self._path, error)) from error

    def _commit(self) -> AbstractContextManager[sqlite3.Connection]:
        return _committing(self._db, self._path)


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
    except (sqlite3.Error, msgspec.MsgspecError, KeyError, TypeError, ValueError) as error:
        connection.close()
        raise LedgerError(unusable(path, error)) from error
    except LedgerError:
        connection.close()
        raise


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    if not ledger_file.prepare(db):
        raise LedgerError(f"the ledger {path} was written by a newer agent: install that version again")
    # First, since a migration of a damaged file would make a sound one of what can still be read.
    (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise LedgerError(damaged(path, verdict))
    if ledger_file.version(db) < ledger_file.VERSION:
        with _committing(db, path):
            ledger_file.migrate(db)


@contextlib.contextmanager
def _committing(db: sqlite3.Connection, path: Path) -> Iterator[sqlite3.Connection]:
    try:
        db.execute("BEGIN IMMEDIATE")
        yield db
        db.execute("COMMIT")
    except (sqlite3.Error, OverflowError) as error:
        with contextlib.suppress(sqlite3.Error):
            db.execute("ROLLBACK")
        raise LedgerError(_unreachable(path, error)) from error


def unusable(path: Path, error: BaseException) -> str:
    """What to tell an operator whose ledger made this error: what is around it, or in it, is at fault."""
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in _FROM_OUTSIDE:
        return _unreachable(path, error)
    return damaged(path, error)


def _unreachable(path: Path, error: BaseException) -> str:
    return (
        f"the ledger {path} cannot be read or written ({error}): free space on its disk, or repair it "
        "or its permissions; nothing was lost, counting goes on at the core"
    )


def damaged(path: Path, what: object) -> str:
    """What to tell an operator whose ledger cannot be read."""
    return (
        f"the ledger {path} is damaged ({what}): move it away and start again; "
        "a new ledger begins, what was reported stays billed and nothing is billed twice"
    )
