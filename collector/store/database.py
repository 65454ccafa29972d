"""The database of one collector: one writer, a few readers, group commit (design: Storage).

What always holds:
- A write is answered after the commit that holds it, with synchronous=FULL: what was said is on the disk.
- Writes that wait together share one commit, each in a savepoint of its own: one that fails undoes itself
  only. When the commit fails, all of them fail and nothing is half done.
- A database that cannot be written (full disk) refuses with words and works again when it can.
"""

import asyncio
import concurrent.futures
import functools
import queue
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import peewee
from playhouse import migrations

from collector.domain import refusals
from collector.store import tables
from collector.store.session import Session

P = ParamSpec("P")
T = TypeVar("T")

FILE = "user.db"
_MIGRATIONS = Path(__file__).with_name("migrations")
#: Writes that may share a commit; bounds how long the first of them waits for the last.
_GROUP = 256
_READERS = 2
_PRAGMAS = {
    "journal_mode": "wal",
    "synchronous": "full",
    "foreign_keys": 0,
    "busy_timeout": 10_000,
    "cache_size": -16_000,
    "wal_autocheckpoint": 10_000,
    "journal_size_limit": 64 * 1024 * 1024,
}


@dataclass(frozen=True)
class _Job:
    work: Callable[[Session], Any]
    done: concurrent.futures.Future[Any]
    alone: bool = False


class Database:
    """Runs functions of a session, synchronous ones, off the event loop."""

    def __init__(self, database: peewee.Database) -> None:
        self._database = database
        self._session = Session(database)
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._readers = concurrent.futures.ThreadPoolExecutor(_READERS, thread_name_prefix="reader")
        self._version: int | None = None
        self._remembered: int | None = None
        self._writer = threading.Thread(target=self._write_forever, name="writer", daemon=True)
        self._writer.start()

    @classmethod
    def open(cls, directory: Path) -> "Database":
        """Open the database in this directory, made and migrated where needed."""
        database = peewee.SqliteDatabase(str(directory / FILE), pragmas=_PRAGMAS, timeout=10)
        database.bind(tables.ALL)
        with database.connection_context():
            migrations.Runner(database, str(_MIGRATIONS)).up()
        return cls(database)

    async def write(
        self, function: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a function in a transaction and return after its commit."""
        return await asyncio.wrap_future(self._submit(lambda session: function(session, *args, **kwargs)))

    def write_now(
        self, function: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """The same for callers without an event loop."""
        return self._submit(lambda session: function(session, *args, **kwargs)).result()

    async def read(
        self, function: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a function that only reads, on a consistent snapshot."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, lambda: self.read_now(function, *args, **kwargs))

    def read_now(
        self, function: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """The same for callers without an event loop."""
        with _translated(), self._database.atomic():
            return function(self._session, *args, **kwargs)

    async def changed_elsewhere(self) -> bool:
        """Whether another process has committed since the last call."""
        job = _Job(self._is_changed, concurrent.futures.Future(), alone=True)
        self._jobs.put(job)
        return bool(await asyncio.wrap_future(job.done))

    def close(self) -> None:
        """Finish what is queued, then close."""
        self._jobs.put(None)
        self._writer.join()
        self._readers.shutdown()
        self._database.close()

    def _submit(self, work: Callable[[Session], T]) -> concurrent.futures.Future[T]:
        job = _Job(work, concurrent.futures.Future())
        self._jobs.put(job)
        return job.done

    def _is_changed(self, session: Session) -> bool:
        # On the writer's own connection the version moves for commits of other connections only, and the
        # readers never commit anything.
        before, self._version = self._version, self._others(session)
        return before is not None and before != self._version

    def _others(self, session: Session) -> int:
        return int(session.rows("PRAGMA data_version")[0][0])

    def _remember(self) -> None:
        """Forget what another process may have changed."""
        before, self._remembered = self._remembered, self._others(self._session)
        if before != self._remembered:
            self._session.hot.forget_all()

    def _write_forever(self) -> None:
        with self._database.connection_context():
            while (first := self._jobs.get()) is not None:
                group = [first, *self._waiting()]
                for job in (one for one in group if one.alone):
                    _settle(job, functools.partial(job.work, self._session))
                self._commit([job for job in group if not job.alone])

    def _waiting(self) -> list[_Job]:
        group: list[_Job] = []
        while len(group) < _GROUP:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                break
            if job is None:
                self._jobs.put(None)
                break
            group.append(job)
        return group

    def _commit(self, group: list[_Job]) -> None:
        outcomes: list[Callable[[], Any]] = []
        try:
            with _translated(), self._database.atomic("IMMEDIATE"):
                self._remember()
                outcomes = [self._outcome(job) for job in group]
        except refusals.Refused as failure:
            self._session.hot.forget_all()
            outcomes = [_raiser(failure)] * len(group)
        for job, outcome in zip(group, outcomes, strict=True):
            _settle(job, outcome)

    def _outcome(self, job: _Job) -> Callable[[], Any]:
        self._session.hot.touched = False
        try:
            with self._database.atomic():
                value = job.work(self._session)
        except (peewee.OperationalError, sqlite3.OperationalError):
            raise  # the disk, not the job: nothing of this group may be called done
        except Exception as failure:  # noqa: BLE001 - handed to the caller as it is
            if self._session.hot.touched:
                self._session.hot.forget_all()
            return _raiser(failure)
        return lambda: value


class _translated:  # noqa: N801 - reads as a statement: with _translated():
    """Turns a database that cannot be used into a refusal in words."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, (peewee.OperationalError, sqlite3.OperationalError)):
            detail = (
                f"the database cannot be used now ({_first(error)}); nothing was changed, try again later"
            )
            raise refusals.Refused(refusals.Kind.UNAVAILABLE, detail) from error


def _first(error: BaseException) -> BaseException:
    """What went wrong first: a full disk ends the transaction, and what fails after it says only that."""
    while isinstance(error.__context__, peewee.DatabaseError | sqlite3.Error):
        error = error.__context__
    return error


def _raiser(failure: Exception) -> Callable[[], Any]:
    def fail() -> Any:  # noqa: ANN401 - stands for a job's value
        raise failure

    return fail


def _settle(job: _Job, outcome: Callable[[], Any]) -> None:
    if not job.done.set_running_or_notify_cancel():
        return
    try:
        job.done.set_result(outcome())
    except Exception as failure:  # noqa: BLE001 - handed to the caller as it is
        job.done.set_exception(failure)
