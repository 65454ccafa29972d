"""What holds for every test: where the e2e tests are required, a skipped one is a failure."""

import os

import pytest

#: Set by CI: a machine that quietly lacks a component must not pass.
REQUIRED = os.environ.get("TIDEGATE_TEST_E2E") == "required"
_skipped: list[str] = []


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
