"""A fresh fleet for each test."""

from collections.abc import Iterator

import pytest

from tests.collector.app import fleet as made
from tests.kit.stores import Store


@pytest.fixture
def fleet(store: Store) -> Iterator[made.Fleet]:
    with made.opened(store) as one:
        yield one
