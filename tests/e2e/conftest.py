"""A fleet of its own for every end-to-end test, and the reason why a test that needs root is left out."""

from collections.abc import Generator, Iterator

import pytest

from tests.kit import fleet as fleets
from tests.kit import lab


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests marked `netns` where namespaces can not be made."""
    if item.get_closest_marker("netns") and (reason := lab.why_no_namespaces()):
        pytest.skip(reason)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the programs said when a test failed; their logs are gone with the fleet."""
    report = yield
    opened = getattr(item, "funcargs", {}).get("fleet")
    if report.failed and call.when == "call" and opened:
        report.sections.append(("what the programs said", opened.running.tails()))
    return report


@pytest.fixture
def fleet() -> Iterator[fleets.Fleet]:
    """Collector, one node with its Xray, a source of bytes; ended with the test."""
    with fleets.opened() as opened:
        yield opened
