"""Joining the fleet with a one-time token, and being thrown out of it."""

import shlex
import time

import pytest

from tests.kit import waiting
from tests.kit.fleet import Fleet

pytestmark = pytest.mark.e2e


def test_a_used_enrolment_token_is_refused_in_words(fleet: Fleet) -> None:
    command = fleet.collector.cli("node", "enroll", "node-2")["command"]
    assert fleet.agent_like("second").enroll(command).status == 0
    done = fleet.agent_like("third").enroll(command)
    assert done.status != 0
    assert "token" in done.err
    assert "Traceback" not in done.err


def test_an_expired_enrolment_token_is_refused_in_words(fleet: Fleet) -> None:
    line = fleet.collector.cli("node", "enroll", "node-2", env={"TIDEGATE_COLLECTOR_ENROL_TTL_S": "10"})
    ends_s = time.monotonic() + line["expires_in"]
    waiting.until(lambda: time.monotonic() > ends_s, within_s=15.0, what="the token to expire")
    done = fleet.agent_like("second").enroll(line["command"])
    assert done.status != 0
    assert "token" in done.err
    assert "Traceback" not in done.err


def test_a_wrong_hash_of_the_authority_stops_the_enrolment(fleet: Fleet) -> None:
    words = shlex.split(fleet.collector.cli("node", "enroll", "node-2")["command"])
    words[-1] = "sha256:" + "0" * 64
    done = fleet.agent_like("second").enroll(shlex.join(words))
    assert done.status != 0
    assert "Traceback" not in done.err


def test_a_revoked_node_is_out_and_serves_nobody_within_five_seconds(fleet: Fleet) -> None:
    bob = fleet.add_user("bob")
    fleet.served(bob)
    download = fleet.download(bob, 100_000_000, rate=5_000_000)
    download.reached(1_000_000)
    fleet.api.revoke(fleet.node)
    assert download.result(within_s=5.0).how == "cut"
    fleet.refused(bob, within_s=5.0)
    waiting.until(lambda: fleet.agent.incidents("node_revoked"), within_s=5.0, what="the node to say why")
