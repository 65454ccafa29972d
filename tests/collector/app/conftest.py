"""A fresh fleet for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.collector.app import fleet as made


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[made.Fleet]:
    with made.opened(tmp_path) as one:
        yield one
