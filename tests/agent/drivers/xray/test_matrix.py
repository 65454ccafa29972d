"""Every protocol, transport and security, each with every client that knows it: all bytes pass and count."""

from pathlib import Path

import pytest

from tests.kit import lab
from tests.matrix import play

pytestmark = [pytest.mark.e2e, pytest.mark.netns]


@pytest.mark.skipif(lab.why_no_namespaces() is not None, reason=str(lab.why_no_namespaces()))
@pytest.mark.parametrize("one_by_one", [False, True], ids=["from the start", "placed one by one"])
def test_every_combination_passes_its_bytes_and_counts_them_exactly(
    tmp_path: Path, *, one_by_one: bool
) -> None:
    with lab.opened(["node"]) as places, places["node"].inside():
        outcomes = play.run(tmp_path, places["node"], one_by_one=one_by_one)
    wrong = [one for one in outcomes if not one.good and not one.unsupported]
    assert [(one.combination, one.client, one.word()) for one in wrong] == []
    # Xray knows them all, so each has been tried.
    assert {one.combination for one in outcomes if one.good} == {one.combination for one in outcomes}
