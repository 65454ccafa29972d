"""What holds for every test: logging is left as it was; where e2e tests are required, none is skipped.

A test that takes `store` runs on both engines. One PostgreSQL serves the whole run; nobody may kill it.
"""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared import logs
from tests.kit import postgres, stores

#: Set by CI: a machine that quietly lacks a component must not pass.
REQUIRED = os.environ.get("TIDEGATE_TEST_E2E") == "required"
_skipped: list[str] = []


@pytest.fixture(autouse=True)
def _logging_is_left_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    level = root.level
    yield
    # A program that a test ran in this process has sent logs to a stream that is closed by now.
    for handler in [one for one in root.handlers if isinstance(one.formatter, logs.Lines)]:
        root.removeHandler(handler)
    root.setLevel(level)


@pytest.fixture(scope="session")
def cluster() -> Iterator[postgres.Cluster]:
    """A PostgreSQL; every test takes databases of its own."""
    with postgres.cluster() as running:
        yield running


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[stores.Store]:
    """An empty database, not open yet, on either engine."""
    if request.param == "sqlite":
        yield stores.SqliteStore(tmp_path)
        return
    with stores.on_postgres(request.getfixturevalue("cluster")) as made:
        yield made


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and {"e2e", "postgres"} & set(report.keywords):
        _skipped.append(report.nodeid)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if REQUIRED and _skipped:
        terminalreporter.section("tests were skipped where they are required", red=True)
        for name in _skipped:
            terminalreporter.line(name)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if REQUIRED and _skipped and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
