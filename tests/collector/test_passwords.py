"""Secrets: kept as hashes, checked at the same cost whether or not the account exists."""

import argon2
import pytest

from collector import passwords


def test_a_password_matches_its_hash_and_no_other_does() -> None:
    hashed = passwords.hash_password("open sesame")
    assert passwords.password_matches(hashed, "open sesame")
    assert not passwords.password_matches(hashed, "open sesame ")
    assert "open sesame" not in hashed


def test_the_hash_has_the_parameters_that_owasp_asks_for() -> None:
    parameters = argon2.extract_parameters(passwords.hash_password("x"))
    assert parameters.type is argon2.Type.ID
    assert (parameters.memory_cost, parameters.time_cost, parameters.parallelism) == (19 * 1024, 2, 1)


def test_nobodys_hash_costs_what_a_real_one_costs_and_matches_nothing() -> None:
    nobodys = argon2.extract_parameters(passwords.NOBODYS_HASH)
    assert nobodys == argon2.extract_parameters(passwords.hash_password("x"))
    for password in ("", "x", "A" * 43, "\x00" * 32):
        assert not passwords.password_matches(None, password)


@pytest.mark.parametrize("broken", ["", "x", "$argon2id$v=19$m=19456,t=2,p=1$AAAA", "$2b$12$abc"])
def test_a_broken_hash_matches_nothing(broken: str) -> None:
    assert not passwords.password_matches(broken, "x")


def test_new_secrets_have_256_bits_and_do_not_look_like_options() -> None:
    made = {passwords.new_secret("tge") for _ in range(1000)}
    assert len(made) == 1000
    assert all(one.startswith("tge_") and len(one) == 4 + 43 for one in made)


def test_new_passwords_differ_and_can_be_typed() -> None:
    made = {passwords.new_password() for _ in range(1000)}
    assert len(made) == 1000
    assert all(len(one) == 29 and not set("lo01") & set(one) for one in made)


def test_a_secret_matches_its_hash_only() -> None:
    hashed = passwords.hash_secret("secret")
    assert passwords.secret_matches(hashed, "secret")
    assert not passwords.secret_matches(hashed, "Secret")
    assert not passwords.secret_matches(None, "secret")
    assert not passwords.secret_matches(bytes(32), "secret")
