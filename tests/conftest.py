"""What holds for every test: logging is left as it was; where e2e tests are required, none is skipped."""

import logging
import os
from collections.abc import Iterator

import pytest

from shared import logs

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


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and "e2e" in report.keywords:
        _skipped.append(report.nodeid)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if REQUIRED and _skipped:
        terminalreporter.section("e2e tests were skipped where they are required", red=True)
        for name in _skipped:
            terminalreporter.line(name)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if REQUIRED and _skipped and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
