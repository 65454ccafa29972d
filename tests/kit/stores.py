"""Databases for tests, on either engine: opened, copied as a kill or a backup would, and removed."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from collector.store.database import Database
from tests.kit.postgres import Cluster

_SHARED_MEMORY = "-shm"


class Store(Protocol):
    """A database that is not open yet."""

    def open(self, *, alone: bool = False) -> Database:
        """Open it."""

    def copied(self) -> "Store":
        """Another one with what was committed to this one so far, whoever has this one open."""

    def killed(self, opened: Database) -> "Store":
        """What is left when whoever has it open is killed; he must not use it any more."""

    def remove(self) -> None:
        """Drop it with what it holds."""


@dataclass
class SqliteStore:
    """A directory of its own."""

    directory: Path

    def open(self, *, alone: bool = False) -> Database:
        """Open it."""
        return Database.open(self.directory, alone=alone)

    def copied(self) -> "SqliteStore":
        """The files as they lie there, a write-ahead log included: what a kill would leave."""
        place = Path(tempfile.mkdtemp(dir=self.directory.parent))
        for file in self.directory.iterdir():
            if file.is_file() and not file.name.endswith(_SHARED_MEMORY):
                shutil.copyfile(file, place / file.name)
        return SqliteStore(place)

    def killed(self, opened: Database) -> "SqliteStore":
        """The files as they lie there; closing would tidy them up."""
        left = self.copied()
        opened.close()
        self.remove()
        return left

    def remove(self) -> None:
        """Remove the files."""
        shutil.rmtree(self.directory)


@dataclass
class PostgresStore:
    """A database of a cluster."""

    cluster: Cluster
    name: str

    def open(self, *, alone: bool = False) -> Database:
        """Open it."""
        return Database.open(self.cluster.directory, self.cluster.address(self.name), alone=alone)

    def copied(self) -> "PostgresStore":
        """A copy by the server, which ends the connections of all others for that."""
        self.end_connections()
        return PostgresStore(self.cluster, self.cluster.make(template=self.name))

    def killed(self, opened: Database) -> "PostgresStore":
        """The same: the server ends what a dead process had begun."""
        self.end_connections()
        opened.close()
        return self

    def end_connections(self) -> None:
        """End whoever is connected, as a restart of the server does."""
        ended = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s"
        self.cluster.ask("postgres", ended, self.name)

    def remove(self) -> None:
        """Drop it, whoever is connected."""
        self.cluster.drop(self.name)


@contextlib.contextmanager
def on_postgres(cluster: Cluster) -> Iterator[PostgresStore]:
    """A database with our tables, empty."""
    store = PostgresStore(cluster, cluster.make(template=cluster.ready))
    try:
        yield store
    finally:
        store.remove()


def of(place: "Path | Store") -> Store:
    """A directory stands for SQLite in it."""
    return SqliteStore(place) if isinstance(place, Path) else place
