"""One-time tokens through the API: exactly one of any number of uses succeeds."""

from collections import Counter

import pytest

from collector import passwords
from collector.app import enrolment, nodes
from collector.domain.access import SYSTEM
from tests.collector.fronts import rig as made
from tests.collector.fronts.rig import CA_HASH, URL, Rig

ABOUT = {"agent_version": "1", "hostname": "h"}


def test_of_a_thousand_concurrent_uses_of_a_token_exactly_one_succeeds(rig: Rig) -> None:
    token = rig.mint(rig.node())
    uses = (rig.ask("POST", "/api/v1/nodes/register", ABOUT, token=token) for _ in range(1000))
    answers = rig.run(made.together(*uses))
    assert Counter(answer.status_code for answer in answers) == {200: 1, 401: 999}
    given = next(answer.json() for answer in answers if answer.is_success)
    credentials = {"client_id": given["client_id"], "client_secret": given["client_secret"]}
    assert rig.send("POST", "/api/v1/auth/token", credentials).status_code == 200


def test_an_expired_token_is_refused_in_words(rig: Rig) -> None:
    token = rig.mint(rig.node(), ttl_ms=-1)
    answer = rig.send("POST", "/api/v1/nodes/register", ABOUT, token=token)
    assert answer.status_code == 401
    assert "expired" in answer.json()["detail"]


def test_a_newer_token_voids_the_older_one(rig: Rig) -> None:
    node = rig.node()
    older, newer = rig.mint(node), rig.mint(node)
    assert rig.send("POST", "/api/v1/nodes/register", ABOUT, token=older).status_code == 401
    assert rig.send("POST", "/api/v1/nodes/register", ABOUT, token=newer).status_code == 200


@pytest.mark.parametrize("body", [{}, {"agent_version": 1, "hostname": "h"}, []])
def test_a_wrong_body_does_not_burn_the_token(rig: Rig, body: object) -> None:
    token = rig.mint(rig.node())
    assert rig.send("POST", "/api/v1/nodes/register", body, token=token).status_code == 422
    assert rig.send("POST", "/api/v1/nodes/register", ABOUT, token=token).status_code == 200


def test_the_line_to_run_on_the_node_holds_url_token_and_hash(rig: Rig) -> None:
    node = rig.node()
    answer = rig.send("POST", f"/api/v1/nodes/{node}/enrolments", token=rig.admin()).json()
    assert answer["command"] == f"tidegate-agent enroll {URL} {answer['token']} --ca-hash {CA_HASH}"
    assert answer["expires_in"] == 600
    assert len(answer["token"]) * 6 >= 128
    assert rig.send("POST", "/api/v1/nodes/register", ABOUT, token=answer["token"]).json()["node"] == node


def test_enrolling_again_voids_the_old_secret_and_the_old_tokens(rig: Rig) -> None:
    old = rig.joined()
    path = f"/api/v1/nodes/{old.id}/configs"
    assert rig.send("GET", path, token=old.token).status_code == 200
    given = rig.send("POST", "/api/v1/nodes/register", ABOUT, token=rig.mint(old.id)).json()
    credentials = {"client_id": old.client_id, "client_secret": old.secret}
    assert rig.send("POST", "/api/v1/auth/token", credentials).status_code == 401
    renewed = {"client_id": given["client_id"], "client_secret": given["client_secret"]}
    token = rig.send("POST", "/api/v1/auth/token", renewed).json()["access_token"]
    assert rig.send("GET", path, token=token).status_code == 200

    async def refused() -> None:
        answer = await rig.ask("GET", path, token=old.token)
        while answer.status_code != 401:
            answer = await rig.ask("GET", path, token=old.token)

    rig.run(refused())


def test_enrolling_brings_a_revoked_node_back(rig: Rig) -> None:
    node = rig.joined()
    rig.data.write_now(nodes.revoke, node.id, SYSTEM, rig.now_ms)
    given = rig.send("POST", "/api/v1/nodes/register", ABOUT, token=rig.mint(node.id)).json()
    credentials = {"client_id": given["client_id"], "client_secret": given["client_secret"]}
    token = rig.send("POST", "/api/v1/auth/token", credentials).json()["access_token"]
    assert rig.send("GET", f"/api/v1/nodes/{node.id}/configs", token=token).status_code == 200


def test_tokens_and_secrets_are_kept_as_hashes_only(rig: Rig) -> None:
    token = rig.mint(rig.node())
    given = rig.send("POST", "/api/v1/nodes/register", ABOUT, token=token).json()
    known = rig.data.read_now(enrolment.credentials, given["client_id"])
    assert known is not None
    assert known.secret_hash == passwords.hash_secret(given["client_secret"])
