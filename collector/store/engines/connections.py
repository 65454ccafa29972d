"""PostgreSQL as peewee sees it: connections that come back, and a commit whose outcome is always found out.

What always holds:
- A connection that broke is replaced when the next transaction begins, never in the middle of one.
- Whoever serves holds a session lock on the very connection that writes: with the connection he loses the
  right to write, and he writes again only after he has it back. So two collectors never serve at once.
- Each write transaction begins by counting itself in one row. Its lock makes writers of all processes take
  turns, so that numbers grow in the order of the commits, and its value tells whether others have committed.
- When the connection breaks during a commit, the server is asked what became of that transaction.
"""

import logging
import threading
import time
from typing import Any

import peewee
import psycopg
from psycopg.pq import TransactionStatus
from psycopg.types.numeric import IntLoader
from psycopg.types.string import StrDumperUnknown

from collector.store.address import Address
from collector.store.engines.engine import Unsure
from shared import logs

LOGGER = logging.getLogger(__name__)
_Base: Any = peewee.PostgresqlDatabase

COMMITS = "commits"
WRITE = (
    "BEGIN ISOLATION LEVEL READ COMMITTED;"
    " UPDATE fact SET value = value + 1 WHERE name = 'commits' RETURNING value, pg_current_xact_id()::text"
)
READ = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
#: Our advisory locks: the first number is ours, the second says which.
_SERVE, OPENING = (1_953_064_804, 1), (1_953_064_804, 2)
_WHO = "SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"
_END = (
    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
    " WHERE pid = %s::int AND backend_start = %s::timestamptz"
)
_SCHEMAS = "tidegate,history"
_BETWEEN_STATEMENTS = (TransactionStatus.IDLE, TransactionStatus.INTRANS, TransactionStatus.INERROR)
_CONNECT_S = 5
#: How long a commit's outcome is asked for: a server that was killed replays its log first.
_OUTCOME_S = 15.0
_ASK_EVERY_S = 0.05
SESSION = {
    "search_path": _SCHEMAS,
    "synchronous_commit": "on",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "60s",
    "timezone": "UTC",
    # A collector's machine that vanished must not hold its locks for hours.
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}


class Taken(peewee.OperationalError):
    """Another collector serves from this database."""


class _OfThread(threading.local):
    """What the thread that writes knows; all others have the same with nothing in it."""

    writing_on: object = None
    session: tuple[object, object] = (None, None)
    transaction = ""
    #: The row of commits as this transaction has left it, and how many of them were ours.
    counted = 0
    commits = 0


class Connections(_Base):  # type: ignore[misc]  # peewee has no types
    """One connection a thread. Numbers are 64 bits wide, as SQLite's are."""

    def __init__(self, address: Address, *, alone: bool) -> None:
        super().__init__(
            address.name,
            prefer_psycopg3=True,
            field_types={"INT": "BIGINT", "AUTO": "BIGSERIAL"},
            **_parameters(address),
        )
        self._alone = alone
        self._every: list[psycopg.Connection[Any]] = []
        self._changing = threading.Lock()
        self._lost = False
        self._mine = _OfThread()

    # --- connections -----------------------------------------------------------------------------------

    def renew(self) -> None:
        """Replace this thread's connection, which broke."""
        self.close()
        self.connect()

    def close_all(self) -> None:
        """Close the connections of all threads."""
        with self._changing:
            every, self._every = self._every, []
        for connection in every:
            connection.close()
        self.close()

    def is_broken(self) -> bool:
        """Whether this thread's connection is of no use any more: gone, or left amid an answer."""
        if self.is_closed():
            return False
        connection = self.connection()
        return bool(connection.closed) or connection.info.transaction_status not in _BETWEEN_STATEMENTS

    def _connect(self) -> Any:  # noqa: ANN401 - peewee names no type
        connection: psycopg.Connection[Any] = super()._connect()
        connection.adapters.register_dumper(str, _Text)
        connection.adapters.register_loader("numeric", IntLoader)
        with self._changing:
            self._every = [one for one in self._every if not one.closed] + [connection]
        return connection

    # --- statements ------------------------------------------------------------------------------------

    def execute_sql(self, sql: str, params: Any = None) -> Any:  # noqa: ANN401 - as peewee has it
        """Run a statement as it is; what only SQLite knows of a table is left out."""
        return super().execute_sql(sql.removesuffix(" WITHOUT ROWID"), params)

    # --- transactions ----------------------------------------------------------------------------------

    def hold(self) -> None:
        """Make this thread's connection the one that writes; who serves needs his lock. Raises Taken."""
        if self._mine.writing_on is self.connection():
            return
        if self._alone and not self._take() and not (self._end_last() and self._take()):
            raise Taken("another tidegate-collector serves from this database")
        self._mine.session = self.execute_sql(_WHO).fetchone()
        self._mine.writing_on = self.connection()

    def _take(self) -> bool:
        return bool(self.execute_sql("SELECT pg_try_advisory_lock(%s, %s)", _SERVE).fetchone()[0])

    def _end_last(self) -> bool:
        """End this thread's last session: the server need not know yet that its connection broke."""
        return bool(self.execute_sql(_END, self._mine.session).fetchall())

    def begin(self, kind: str = "BEGIN") -> None:
        """Begin a transaction, over a new connection where the old one broke meanwhile."""
        if self.is_closed() or not self._has_begun(kind):
            try:
                self.renew()
                self._begin(kind)
            except peewee.OperationalError as error:
                self._tell_lost(error)
                raise
        self._tell_back()

    def _has_begun(self, kind: str) -> bool:
        try:
            self._begin(kind)
        except peewee.OperationalError as error:
            if not self.is_broken():
                raise
            self._tell_lost(error)
            return False
        return True

    def commit(self) -> None:
        """Commit; when the connection breaks meanwhile, find out what became of it. Raises Unsure."""
        transaction, self._mine.transaction = self._mine.transaction, ""
        try:
            if self.execute_sql("COMMIT").statusmessage != "COMMIT":
                raise peewee.InternalError("a statement failed unnoticed, and the transaction with it")
        except peewee.OperationalError as error:
            if not transaction:
                raise
            self._tell_lost(error)
            if not self._was_committed(transaction):
                raise
        self._mine.commits += bool(transaction)

    def rollback(self) -> None:
        """Roll back; a connection that broke has done so already."""
        if not self.is_closed() and not self.is_broken():
            super().rollback()

    def others(self) -> int:
        """How many commits of other processes there were."""
        if self._mine.transaction:
            return self._mine.counted - self._mine.commits - 1
        with self.atomic(READ):
            cursor = self.execute_sql("SELECT value FROM fact WHERE name = %s", (COMMITS,))
            return int(cursor.fetchone()[0]) - self._mine.commits

    def _begin(self, kind: str) -> None:
        self._mine.transaction = ""
        if kind is WRITE:
            self.hold()
        try:
            cursor = self.execute_sql(kind)
            if kind is WRITE:
                cursor.nextset()
                self._mine.counted, self._mine.transaction = cursor.fetchone()
        except peewee.OperationalError:
            self.rollback()
            raise

    def _was_committed(self, transaction: str) -> bool:
        deadline = time.monotonic() + _OUTCOME_S
        pause = threading.Event()
        while time.monotonic() < deadline:
            try:
                self.renew()
                asked = self.execute_sql("SELECT pg_xact_status(%s::xid8)", (transaction,))
                if (status := asked.fetchone()[0]) in {"committed", "aborted"}:
                    return bool(status == "committed")
                self._end_last()
            except peewee.OperationalError as error:
                logs.event(LOGGER, logging.DEBUG, "outcome_unknown_yet", reason=first_line(error))
            pause.wait(_ASK_EVERY_S)
        raise Unsure("the connection broke during a commit")

    # --- words -----------------------------------------------------------------------------------------

    def _tell_lost(self, error: BaseException) -> None:
        if not self._lost and (self.is_closed() or self.is_broken()):
            self._lost = True
            logs.event(LOGGER, logging.WARNING, "postgres_lost", reason=first_line(error))

    def _tell_back(self) -> None:
        if self._lost:
            self._lost = False
            logs.event(LOGGER, logging.INFO, "postgres_back")


def first_line(error: BaseException) -> str:
    """What an error says, without its hints and positions."""
    return str(error).strip().partition("\n")[0]


class _Text(StrDumperUnknown):
    """PostgreSQL's text has no NUL, and what a node says may have one."""

    def dump(self, obj: str) -> Any:  # noqa: ANN401 - as psycopg has it
        return super().dump(obj.replace("\0", "\ufffd") if "\0" in obj else obj)


class _Cursor(psycopg.Cursor[Any]):
    """Takes no parameters for what they are, so that a statement without any may hold a percent sign."""

    def execute(self, query: Any, params: Any = None, **how: Any) -> Any:  # noqa: ANN401 - as psycopg has it
        return super().execute(query, params or None, **how)


def _parameters(address: Address) -> dict[str, object]:
    given = {
        "host": address.host,
        "port": address.port,
        "user": address.user,
        "password": address.password,
        **dict(address.options),
    }
    options = " ".join(f"-c {name}={value}" for name, value in SESSION.items())
    return {name: value for name, value in given.items() if value is not None} | {
        "options": options,
        "application_name": "tidegate-collector",
        "client_encoding": "utf8",
        "connect_timeout": _CONNECT_S,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 20_000,
        "cursor_factory": _Cursor,
    }
