"""Logins: what is right gets a token, what is wrong is slowed down."""

import math

import pytest

from collector import passwords, tokens
from collector.app import admins, nodes
from collector.domain.access import SYSTEM, Actor, Role
from collector.fronts.rest import throttle
from tests.collector.fronts import rig as made
from tests.collector.fronts.rig import KEY, Rig

PATH = "/api/v1/auth/token"


def test_an_admin_gets_a_token_that_opens_the_api(rig: Rig) -> None:
    rig.admin("open sesame", "ada")
    answer = rig.send("POST", PATH, {"username": "ada", "password": "open sesame"}).json()
    assert answer["expires_in"] == tokens.ADMIN_LIFE_S
    assert rig.send("GET", "/api/v1/nodes", token=answer["access_token"]).status_code == 200


def test_a_node_gets_a_token_for_its_own_routes(rig: Rig) -> None:
    node = rig.joined()
    answer = rig.send("POST", PATH, {"client_id": node.client_id, "client_secret": node.secret}).json()
    assert answer["expires_in"] == tokens.NODE_LIFE_S
    assert tokens.read(KEY, answer["access_token"]).actor.id == node.id


@pytest.mark.parametrize(
    "body",
    [
        {"username": "ada", "password": "wrong"},
        {"username": "nobody", "password": "open sesame"},
        {"username": "ada\x00", "password": "open sesame"},
        {"client_id": "client-of-node-1", "client_secret": "wrong"},
        {"client_id": "client-of-nobody", "client_secret": "wrong"},
        {"client_id": "", "client_secret": ""},
    ],
)
def test_wrong_credentials_are_refused_alike(rig: Rig, body: dict[str, str]) -> None:
    rig.admin("open sesame", "ada")
    rig.joined()
    answer = rig.send("POST", PATH, body)
    assert answer.status_code == 401
    assert "do not belong together" in answer.json()["detail"]


def test_a_node_that_never_enrolled_cannot_log_in_with_nothing(rig: Rig) -> None:
    rig.node()
    assert rig.send("POST", PATH, {"client_id": "None", "client_secret": ""}).status_code == 401


def test_an_unknown_admin_costs_as_much_work_as_a_known_one(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[str] = []

    def check(password_hash: str | None, password: str) -> bool:
        checked.append(password_hash or passwords.NOBODYS_HASH)
        return password == "not this one"

    rig.admin(name="ada")
    monkeypatch.setattr(passwords, "password_matches", check)
    rig.send("POST", PATH, {"username": "ada", "password": "x"})
    rig.send("POST", PATH, {"username": "bob", "password": "x"})
    assert [one.rsplit("$", 2)[0] for one in checked] == ["$argon2id$v=19$m=19456,t=2,p=1"] * 2


def test_guessing_a_password_is_slowed_down_and_the_wait_is_told(rig: Rig) -> None:
    rig.admin("open sesame", "ada")
    wrong = {"username": "ada", "password": "wrong"}
    statuses = [rig.send("POST", PATH, wrong).status_code for _ in range(throttle.PER_ACCOUNT.burst)]
    assert statuses == [401] * throttle.PER_ACCOUNT.burst
    answer = rig.send("POST", PATH, {"username": "ada", "password": "open sesame"})
    assert answer.status_code == 429
    assert 1 <= int(answer.headers["retry-after"]) <= math.ceil(1 / throttle.PER_ACCOUNT.per_s)
    rig.admin("tell me", "bob")
    assert rig.send("POST", PATH, {"username": "bob", "password": "tell me"}).status_code == 200


def test_guesses_that_come_all_at_once_are_slowed_down_too(rig: Rig) -> None:
    rig.admin("open sesame", "ada")
    guesses = (rig.ask("POST", PATH, {"username": "ada", "password": str(number)}) for number in range(40))
    statuses = [answer.status_code for answer in rig.run(made.together(*guesses))]
    assert statuses.count(401) == throttle.PER_ACCOUNT.burst
    assert statuses.count(429) == 40 - throttle.PER_ACCOUNT.burst


def test_right_passwords_are_never_slowed_down(rig: Rig) -> None:
    rig.admin("open sesame", "ada")
    right = {"username": "ada", "password": "open sesame"}
    statuses = {rig.send("POST", PATH, right).status_code for _ in range(throttle.PER_ACCOUNT.burst + 3)}
    assert statuses == {200}


def test_wrong_secrets_of_strangers_do_not_lock_a_node_out(rig: Rig) -> None:
    node = rig.joined()
    wrong = {"client_id": node.client_id, "client_secret": "wrong"}
    guesses = (rig.ask("POST", PATH, wrong) for _ in range(throttle.TOGETHER.burst * 2))
    assert {answer.status_code for answer in rig.run(made.together(*guesses))} == {401}
    right = {"client_id": node.client_id, "client_secret": node.secret}
    assert rig.send("POST", PATH, right).status_code == 200


def test_a_revoked_node_is_told_so_only_with_the_right_secret(rig: Rig) -> None:
    node = rig.joined()
    rig.data.write_now(nodes.revoke, node.id, SYSTEM, rig.now_ms)
    right = rig.send("POST", PATH, {"client_id": node.client_id, "client_secret": node.secret})
    wrong = rig.send("POST", PATH, {"client_id": node.client_id, "client_secret": "wrong"})
    assert (right.status_code, wrong.status_code) == (401, 401)
    assert "revoked" in right.json()["detail"]
    assert "revoked" not in wrong.json()["detail"]


def test_a_new_password_voids_the_tokens_of_the_old_one(rig: Rig) -> None:
    token = rig.admin()
    assert rig.send("GET", "/api/v1/nodes", token=token).status_code == 200
    changed = passwords.hash_password("another one")
    rig.data.write_now(admins.change_password, "root", changed, SYSTEM, rig.now_ms)
    rig.parts.callers.forget(Actor(Role.ADMIN, 1))
    assert rig.send("GET", "/api/v1/nodes", token=token).status_code == 401
