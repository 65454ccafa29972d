"""One-time tokens and credentials."""

import concurrent.futures
import hashlib

import pytest

from collector.app import enrolment, nodes
from collector.domain import refusals
from collector.domain.access import SYSTEM
from shared.messages import Registration
from tests.collector.app.fleet import NOW_MS, Fleet

TOKEN = hashlib.sha256(b"token").digest()
SAID = Registration(agent_version="1", hostname="host")


def _mint(fleet: Fleet, token: bytes = TOKEN) -> None:
    fleet.db.write_now(enrolment.mint, fleet.node.id, token, NOW_MS + 600_000, SYSTEM, NOW_MS)


def _redeem(fleet: Fleet, token: bytes = TOKEN, now_ms: int = NOW_MS) -> None:
    fleet.db.write_now(enrolment.redeem, token, f"client-{now_ms}", b"hash", SAID, now_ms)


def test_a_thousand_concurrent_uses_of_a_token_give_exactly_one_success(fleet: Fleet) -> None:
    _mint(fleet)

    def attempt(_: int) -> bool:
        try:
            _redeem(fleet)
        except refusals.Refused:
            return False
        return True

    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        assert sum(pool.map(attempt, range(1_000))) == 1


def test_an_expired_token_is_refused(fleet: Fleet) -> None:
    _mint(fleet)
    with pytest.raises(refusals.Refused, match="expired"):
        _redeem(fleet, now_ms=NOW_MS + 600_000)


def test_a_second_token_voids_the_first(fleet: Fleet) -> None:
    _mint(fleet)
    _mint(fleet, hashlib.sha256(b"second").digest())
    with pytest.raises(refusals.Refused):
        _redeem(fleet)


def test_a_revoked_node_comes_back_by_enrolling_again_with_a_higher_credential(fleet: Fleet) -> None:
    _mint(fleet)
    _redeem(fleet)
    first = fleet.db.read_now(enrolment.standing, fleet.node.id)
    fleet.db.write_now(nodes.revoke, fleet.node.id, SYSTEM, NOW_MS)
    revoked = fleet.db.read_now(enrolment.standing, fleet.node.id)
    second = hashlib.sha256(b"second").digest()
    _mint(fleet, second)
    _redeem(fleet, second)
    again = fleet.db.read_now(enrolment.standing, fleet.node.id)
    assert first is not None
    assert revoked is not None
    assert again is not None
    assert (revoked.revoked, again.revoked) == (True, False)
    assert first.credential < revoked.credential < again.credential
