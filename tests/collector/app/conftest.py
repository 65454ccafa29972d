"""A fresh fleet for each test; whatever changes state in it must tell so by an event."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from collector.store.database import Database
from tests.collector import state
from tests.collector.app import fleet as made
from tests.kit.stores import SqliteStore, Store


@pytest.fixture
def fleet(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[made.Fleet]:
    # All of the state is read for every write: one engine is enough, and the quicker one.
    if isinstance(store, SqliteStore):
        monkeypatch.setattr(Database, "write_now", _telling(Database.write_now))
    with made.opened(store) as one:
        yield one


def _telling(write_now: Callable[..., Any]) -> Callable[..., Any]:
    def write(database: Database, function: Callable[..., Any], *args: object, **kwargs: object) -> object:
        is_ours = function.__module__.startswith("collector.app.")
        return write_now(database, state.told(function) if is_ours else function, *args, **kwargs)

    return write
