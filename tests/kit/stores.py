"""Databases for tests, on either engine: opened, copied as a kill or a backup would, and removed."""

import contextlib
import itertools
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from collector.store.database import Database
from tests.kit.postgres import Cluster

ENGINES = ("sqlite", "postgres")


class Store(Protocol):
    """A database that is not open yet."""

    def open(self, *, alone: bool = False) -> Database:
        """Open it."""

    def copied(self) -> "Store":
        """Another one with what was committed to this one so far."""

    def remove(self) -> None:
        """Drop it with what it holds."""


@dataclass
class SqliteStore:
    """A directory of its own."""

    directory: Path
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def open(self, *, alone: bool = False) -> Database:
        """Open it."""
        return Database.open(self.directory, alone=alone)

    def copied(self) -> "SqliteStore":
        """The files as they lie there: what a kill would leave."""
        place = self.directory.with_name(f"{self.directory.name}-{next(self.numbers)}")
        shutil.copytree(self.directory, place)
        return SqliteStore(place)

    def remove(self) -> None:
        """Remove the files."""
        shutil.rmtree(self.directory)


@dataclass
class PostgresStore:
    """A database of a cluster; it may be copied while nobody has it open."""

    cluster: Cluster
    name: str

    def open(self, *, alone: bool = False) -> Database:
        """Open it."""
        return Database.open(self.cluster.directory, self.cluster.address(self.name), alone=alone)

    def copied(self) -> "PostgresStore":
        """A copy by the server."""
        return PostgresStore(self.cluster, self.cluster.make(template=self.name))

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
