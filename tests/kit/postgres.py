"""A PostgreSQL of the tests' own: Debian's programs, a free port, a directory that goes with it.

What always holds: it never touches a cluster that is there already, it runs as somebody who is not root, it
dies with the process that started it, and it is ended by its pid. Whoever is named in a `trusted` address
needs no password; `GUARDED` does.
"""

import contextlib
import functools
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from collector.store.address import Address
from collector.store.database import Database
from tests.kit import programs, waiting

_LEFT_BEHIND = "tidegate-postgres-"
OWNER, GUARDED = "tidegate", "guarded"
_START_S = 60.0
_FAST = Path("/dev/shm")  # noqa: S108 - a directory of our own is made in it
_PLACES = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin")
#: No test cuts the power, so the disk need not keep up: a killed process loses nothing all the same.
_QUICK = {
    "listen_addresses": "127.0.0.1",
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "max_connections": "60",
    "max_wal_senders": "0",
    "wal_level": "minimal",
    "autovacuum": "off",
    "log_min_messages": "fatal",
}
#: As an operator has it who gave it memory.
_DURABLE = {"listen_addresses": "127.0.0.1", "shared_buffers": "256MB", "log_min_messages": "fatal"}


@functools.cache
def programs_at() -> Path | None:
    """Where the server's programs are; None when it is not installed."""
    found = [Path(place) for pattern in _PLACES for place in sorted(Path("/").glob(pattern[1:]))]
    on_path = shutil.which("initdb")
    places = [*reversed(found), *([Path(on_path).resolve().parent] if on_path else [])]
    return next((place for place in places if (place / "initdb").exists()), None)


def require() -> Path:
    """Where the programs are; skips the test with the reason when they are not there."""
    place = programs_at()
    if place is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    return place


@dataclass
class Cluster:
    """One server with its data."""

    bin: Path
    directory: Path
    port: int
    settings: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = None
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def address(self, name: str, *, user: str = OWNER, password: str | None = None) -> Address:
        """How to open one of its databases."""
        return Address(name=name, host="127.0.0.1", port=self.port, user=user, password=password)

    def url(self, name: str, *, user: str = OWNER, password: str = "") -> str:
        """The same as a setting."""
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{name}"

    def socket_url(self, name: str) -> str:
        """The same over the server's socket, which is reached from any network namespace."""
        return f"postgresql://{OWNER}@:{self.port}/{name}?host={self.directory}"

    def start(self) -> None:
        """Start the server on what lies there, and wait until it answers."""
        own = {"port": str(self.port), "unix_socket_directories": str(self.directory)}
        settings = [f"--{name}={value}" for name, value in {**self.settings, **own}.items()]

        def answers() -> bool:
            if self.process is None or self.process.poll() is not None:
                # One that was killed leaves children that hold its memory for a moment.
                with (self.directory / "log").open("ab") as log:
                    command = [str(self.bin / "postgres"), "-D", str(self.directory / "data"), *settings]
                    self.process = subprocess.Popen(
                        [*_as_nobody(), *command], stdout=log, stderr=log, start_new_session=True
                    )
            try:
                self.ask("postgres", "SELECT 1")
            except psycopg.OperationalError:
                return False
            return True

        waiting.until(answers, within_s=_START_S, what=f"PostgreSQL to start\n{self._log()}")

    def kill(self) -> None:
        """SIGKILL the server and all its workers."""
        assert self.process is not None
        workers = _children(self.process.pid)
        for pid in (self.process.pid, *workers):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(_START_S)
        for pid in workers:
            programs.gone(pid)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End the server: SIGINT in order, SIGQUIT at once."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(_START_S)

    def ask(self, database: str, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Run a statement as the superuser."""
        with psycopg.connect(
            host="127.0.0.1", port=self.port, user=OWNER, dbname=database, autocommit=True, connect_timeout=5
        ) as connection:
            cursor = connection.execute(query.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def make(self, *, template: str = "template0") -> str:
        """Make a database; returns its name."""
        name = f"test_{next(self.numbers)}"
        self._change("CREATE DATABASE {} TEMPLATE {}", name, template)
        return name

    def drop(self, name: str) -> None:
        """Drop a database, whoever is connected to it."""
        self._change("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)

    @functools.cached_property
    def ready(self) -> str:
        """A database with our empty tables, to copy."""
        name = self.make()
        Database.open(self.directory, self.address(name)).close()
        return name

    def _change(self, statement: str, *names: str) -> None:
        composed = sql.SQL(statement).format(*map(sql.Identifier, names))
        self.ask("postgres", composed.as_string())

    def _log(self) -> str:
        log = self.directory / "log"
        return log.read_text(errors="replace")[-2000:] if log.exists() else ""


@contextlib.contextmanager
def cluster(*, durable: bool = False) -> Iterator[Cluster]:
    """A running server of one's own; a `durable` one is on a disk and keeps what it has said."""
    place = require()
    parent = _FAST if _FAST.is_dir() and not durable else Path(tempfile.gettempdir())
    _remove_leftovers(parent)
    with tempfile.TemporaryDirectory(
        prefix=f"{_LEFT_BEHIND}{os.getpid()}-", dir=parent, ignore_cleanup_errors=True
    ) as name:
        directory = Path(name)
        if os.geteuid() == 0:
            user = _nobody()
            os.chown(directory, user.pw_uid, user.pw_gid)
        _initialise(place, directory)
        made = Cluster(place, directory, _free_port(), _DURABLE if durable else _QUICK)
        try:
            made.start()
            made.ask("postgres", f"CREATE ROLE {GUARDED} LOGIN PASSWORD 'the right one'")
            yield made
        finally:
            made.stop()


def _remove_leftovers(parent: Path) -> None:
    """Remove what runs that were killed left behind; their servers died with them."""
    for left in parent.glob(f"{_LEFT_BEHIND}*-*"):
        pid = left.name.removeprefix(_LEFT_BEHIND).partition("-")[0]
        if pid.isdigit() and not Path("/proc", pid).exists():
            shutil.rmtree(left, ignore_errors=True)


def _initialise(place: Path, directory: Path) -> None:
    command = [str(place / "initdb"), "-D", str(directory / "data"), "-U", OWNER, "-A", "trust"]
    command += ["-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions"]
    done = subprocess.run([*_as_nobody(), *command], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    guarded = f"host all {GUARDED} 127.0.0.1/32 scram-sha-256"
    doors = (guarded, "host all all 127.0.0.1/32 trust", "local all all trust", "")
    (directory / "data" / "pg_hba.conf").write_text("\n".join(doors))


def _as_nobody() -> list[str]:
    tether = ["--pdeathsig", "KILL"]
    if os.geteuid() != 0:
        return ["setpriv", *tether]
    user = _nobody()
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", *tether]


def _nobody() -> pwd.struct_passwd:
    """Whom the server runs as when we are root, as whom it refuses to run."""
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def _children(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
    return found


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
