"""A fresh collector for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.collector.fronts import rig as made


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[made.Rig]:
    with made.opened(tmp_path) as one:
        yield one
