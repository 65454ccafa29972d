"""Access tokens after RFC 8725: whatever is not exactly ours is refused."""

import base64
import json
import time
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector import tokens
from collector.domain.access import NOBODY, Actor, Role
from collector.domain.refusals import Kind, Refused
from collector.tokens import Bearer

KEY = b"k" * tokens.KEY_BYTES
NODE = Bearer(Actor(Role.NODE, 7), 3)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _claims(**changes: object) -> dict[str, Any]:
    now_s = int(time.time())
    good = {
        "iss": tokens.ISSUER,
        "aud": tokens.AUDIENCE,
        "sub": "node:7",
        "iat": now_s,
        "exp": now_s + 60,
        "cred": 3,
    }
    return {name: value for name, value in (good | changes).items() if value is not None}


def _signed(claims: dict[str, Any], key: bytes = KEY, algorithm: str = "HS256", **header: object) -> str:
    return jwt.encode(claims, key, algorithm=algorithm, headers={"typ": tokens.TYPE} | header)


def _refused(token: str) -> Refused:
    with pytest.raises(Refused) as refusal:
        tokens.read(KEY, token)
    assert refusal.value.kind is Kind.UNAUTHENTICATED
    assert refusal.value.detail in {str(one) for one in (tokens.unusable(), tokens.expired())}
    return refusal.value


def _part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize("bearer", [NODE, Bearer(Actor(Role.ADMIN, 1), 0), Bearer(Actor(Role.MANAGER, 2), 5)])
def test_a_token_tells_who_it_was_given_to(bearer: Bearer) -> None:
    assert tokens.read(KEY, tokens.issue(KEY, bearer, _now_ms())) == bearer


def test_a_hand_made_token_with_the_right_claims_is_read() -> None:
    assert tokens.read(KEY, _signed(_claims())) == NODE


def test_tokens_live_as_long_as_their_role_says() -> None:
    assert (tokens.life_s(Role.NODE), tokens.life_s(Role.ADMIN)) == (900, 3600)
    assert tokens.life_s(Role.MANAGER) == 3600
    payload = jwt.decode(tokens.issue(KEY, NODE, _now_ms()), options={"verify_signature": False})
    assert payload["exp"] - payload["iat"] == 900


def test_an_unsigned_token_is_refused() -> None:
    header = {"alg": "none", "typ": tokens.TYPE}
    for signature in ("", "AA"):
        _refused(f"{_part(header)}.{_part(_claims())}.{signature}")


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
def test_another_algorithm_is_refused_even_with_the_right_key(algorithm: str) -> None:
    _refused(_signed(_claims(), key=KEY * 2, algorithm=algorithm))
    with pytest.raises(Refused):
        tokens.read(KEY * 2, _signed(_claims(), key=KEY * 2, algorithm=algorithm))


def test_a_token_signed_with_another_key_is_refused() -> None:
    _refused(_signed(_claims(), key=b"x" * 32))


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "another-api"},
        {"aud": ["another-api"]},
        {"aud": None},
        {"iss": "another-issuer"},
        {"iss": None},
        {"exp": None},
        {"exp": "soon"},
        {"iat": None},
        {"iat": "now"},
        {"sub": None},
        {"sub": ""},
        {"sub": "node:"},
        {"sub": "node:x"},
        {"sub": "root:1"},
        {"sub": str(NOBODY)},
        {"cred": None},
        {"cred": "3"},
        {"cred": True},
        {"cred": 3.0},
        {"nbf": 4_000_000_000},
    ],
    ids=str,
)
def test_a_token_with_a_wrong_or_missing_claim_is_refused(changes: dict[str, object]) -> None:
    _refused(_signed(_claims(**changes)))


@pytest.mark.parametrize(
    "header", [{"typ": "JWT"}, {"typ": ""}, {"typ": None}, {"typ": "AT+JWT "}, {"typ": 5}], ids=str
)
def test_a_token_of_another_or_no_type_is_refused(header: dict[str, object]) -> None:
    encoded = _part({"alg": "HS256", **{name: value for name, value in header.items() if value is not None}})
    signing_input = f"{encoded}.{_part(_claims())}"
    signature = jwt.get_algorithm_by_name("HS256").sign(signing_input.encode(), KEY)
    _refused(f"{signing_input}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}")


def test_an_expired_token_is_refused_with_the_way_to_a_new_one() -> None:
    over = _now_ms() - (tokens.NODE_LIFE_S + tokens.LEEWAY_S + 2) * 1000
    assert "expired" in _refused(tokens.issue(KEY, NODE, over)).detail


def test_a_clock_that_is_half_a_minute_off_is_forgiven() -> None:
    just_over = _now_ms() - (tokens.NODE_LIFE_S + tokens.LEEWAY_S - 5) * 1000
    assert tokens.read(KEY, tokens.issue(KEY, NODE, just_over)) == NODE
    ahead = _now_ms() + (tokens.LEEWAY_S - 5) * 1000
    assert tokens.read(KEY, tokens.issue(KEY, NODE, ahead)) == NODE


def test_a_token_from_the_future_is_refused() -> None:
    _refused(tokens.issue(KEY, NODE, _now_ms() + 10 * 60 * 1000))


def test_changing_any_letter_of_a_token_voids_it() -> None:
    token = tokens.issue(KEY, NODE, _now_ms())
    header, payload, signature = token.split(".")
    for part in (0, 1):
        pieces = [header, payload, signature]
        pieces[part] = ("A" if pieces[part][5] != "A" else "B").join([pieces[part][:5], pieces[part][6:]])
        _refused(".".join(pieces))


@given(
    st.text(max_size=200) | st.lists(st.text("AZaz09-_", max_size=30), min_size=3, max_size=3).map(".".join)
)
def test_rubbish_is_refused_and_nothing_else_happens(text: str) -> None:
    _refused(text)


def test_a_token_of_absurd_length_is_not_even_looked_at() -> None:
    _refused("a" * 1_000_000)
