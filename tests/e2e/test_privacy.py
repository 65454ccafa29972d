"""Raw client addresses reach no disk, no log and no message; `tests.bench privacy` looks for minutes."""

import os

import pytest

from tests.system import privacy

pytestmark = [pytest.mark.e2e, pytest.mark.netns]

#: How long to go on; one round is the least.
SECONDS = float(os.environ.get("TIDEGATE_TEST_PRIVACY_S", "1"))


@pytest.mark.timeout(180 + 2 * SECONDS)
def test_client_addresses_are_in_no_file_no_database_no_log_and_no_message() -> None:
    with privacy.opened() as fleet:
        evidence = privacy.soak(fleet, SECONDS)
        # The collector's own address is written down and said: the search would have found others.
        assert privacy.knows(fleet, fleet.lab["hub"].address)
    assert evidence.found == {}
    assert {"collector.log", "agent.log", "user.db", "ledger.db"} <= evidence.searched_files
    assert any(name.endswith("-wal") for name in evidence.searched_files)
    assert {"what the agent said", "what the collector answered"} <= evidence.searched_files
    assert min(evidence.sightings, evidence.penalties, evidence.downloads) > 0
    assert evidence.most_sessions == len(privacy.addresses(fleet))
