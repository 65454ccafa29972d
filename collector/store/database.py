"""The database of one collector: one writer, a few readers, group commit (design: Storage).

What always holds, on either engine:
- A write is answered after the commit that holds it, and a commit is on the disk: what was said is there.
- Writes that wait together share one commit, each in a savepoint of its own: one that fails undoes itself
  only. When the commit fails, all of them fail and nothing is half done.
- A database that cannot be used (full disk, no connection) refuses with words and works again when it can.
"""

import asyncio
import concurrent.futures
import contextlib
import functools
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from collector.domain import refusals
from collector.store.address import Address
from collector.store.elsewhere import Elsewhere
from collector.store.engines.engine import Engine, Unsure, Unusable
from collector.store.engines.sqlite import Sqlite
from collector.store.session import Session

P = ParamSpec("P")
T = TypeVar("T")

#: Writes that may share a commit; bounds how long the first of them waits for the last.
_GROUP = 256
_READERS = 2


@dataclass(frozen=True)
class _Job:
    work: Callable[[Session], Any]
    done: concurrent.futures.Future[Any]
    alone: bool = False


class Database:
    """Runs functions of a session, synchronous ones, off the event loop."""

    def __init__(self, engine: Engine, *, alone: bool = False) -> None:
        self._engine = engine
        self._session = Session(engine)
        self._elsewhere = Elsewhere(engine, self._session, serving=alone)
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._readers = concurrent.futures.ThreadPoolExecutor(_READERS, thread_name_prefix="reader")
        self._writer = threading.Thread(target=self._write_forever, name="writer", daemon=True)
        self._writer.start()

    @classmethod
    def open(
        cls, directory: Path, address: Address | None = None, *, new: bool = True, alone: bool = False
    ) -> "Database":
        """Open the database at this address, or the file in this directory; migrated where needed.

        Only a `new` one may be missing. `alone` is for the one process that serves; PostgreSQL sees to that.
        Raises Unusable, and whatever SQLite says of a file that is none.
        """
        made = cls(_engine(directory, address, alone=alone), alone=alone)
        try:
            made._aside(lambda _: made._engine.open(new=new)).result()
        except BaseException:
            made.close()
            raise
        return made

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
        with self._in_words(), self._engine.reading():
            return function(self._session, *args, **kwargs)

    async def changed_elsewhere(self) -> bool:
        """Whether another process has committed since the last call."""
        return bool(await asyncio.wrap_future(self._aside(self._is_changed)))

    def close(self) -> None:
        """Finish what is queued, then close."""
        self._jobs.put(None)
        self._writer.join()
        self._readers.shutdown()
        self._engine.close()

    def _submit(self, work: Callable[[Session], T]) -> concurrent.futures.Future[T]:
        job = _Job(work, concurrent.futures.Future())
        self._jobs.put(job)
        return job.done

    def _aside(self, work: Callable[[Session], T]) -> concurrent.futures.Future[T]:
        """Run something on the writer's thread, in no transaction of ours."""
        job = _Job(work, concurrent.futures.Future(), alone=True)
        self._jobs.put(job)
        return job.done

    def _is_changed(self, _session: Session) -> bool:
        with self._in_words():
            return self._elsewhere.news()

    def _write_forever(self) -> None:
        while (first := self._jobs.get()) is not None:
            group = [first, *self._waiting()]
            for job in (one for one in group if one.alone):
                _settle(job, functools.partial(job.work, self._session))
            self._commit([job for job in group if not job.alone])
        self._engine.disconnect()

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
        if not group:
            return
        outcomes: list[Callable[[], Any]] = []
        try:
            with self._in_words(), self._engine.writing():
                self._elsewhere.look()
                self._session.hot.concerned = False
                outcomes = [self._outcome(job) for job in group]
                self._elsewhere.tell(concerned=self._session.hot.concerned)
        except Exception as failure:  # noqa: BLE001 - handed to the callers as it is
            self._session.hot.forget_all()
            outcomes = [_raiser(failure)] * len(group)
        for job, outcome in zip(group, outcomes, strict=True):
            _settle(job, outcome)

    def _outcome(self, job: _Job) -> Callable[[], Any]:
        self._session.hot.touched = False
        try:
            with self._savepoint():
                value = job.work(self._session)
        except Exception as failure:
            if self._engine.why(failure) is not None:
                raise  # the database, not the job: nothing of this group may be called done
            if self._session.hot.touched:
                self._session.hot.forget_all()
            return _raiser(failure)
        return lambda: value

    @contextlib.contextmanager
    def _savepoint(self) -> Iterator[None]:
        # Always the same name, so that drivers prepare these statements once.
        self._session.run("SAVEPOINT job")
        try:
            yield
        except BaseException:
            self._session.run("ROLLBACK TO SAVEPOINT job")
            self._session.run("RELEASE SAVEPOINT job")
            raise
        self._session.run("RELEASE SAVEPOINT job")

    @contextlib.contextmanager
    def _in_words(self) -> Iterator[None]:
        """Turns a database that cannot be used into a refusal in words."""
        try:
            yield
        except Exception as error:
            why = self._engine.why(error)
            if why is None:
                raise
            changed = "whether anything was changed is not known: look before you try again"
            if not isinstance(error, Unsure):
                changed = "nothing was changed, try again later"
            detail = f"the database cannot be used now ({why}); {changed}"
            raise refusals.Refused(refusals.Kind.UNAVAILABLE, detail) from error


def _engine(directory: Path, address: Address | None, *, alone: bool) -> Engine:
    if address is None:
        return Sqlite(directory)
    try:
        from collector.store.engines.postgres import Postgres  # noqa: PLC0415 - an install without it needs no driver
    except ImportError as error:
        raise Unusable(
            "PostgreSQL needs a driver that is not installed: pip install 'tidegate[collector,postgres]',"
            f" or run without it on SQLite ({error})"
        ) from error
    return Postgres(address, alone=alone)


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
