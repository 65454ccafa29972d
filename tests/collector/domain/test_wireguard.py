"""Keys of WireGuard's users, and what may be asked of them."""

import base64
import random
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.domain import addressing, wireguard
from collector.domain.wireguard import Keys, Wish

_POOLS = addressing.pools(["10.66.0.1/24", "fd00::1/64"])
_OTHER = base64.b64encode(b"o" * 32).decode()


def _keys(public: str | None = None) -> Keys:
    return wireguard.new_keys(random.Random(1).randbytes, public)


def test_public_keys_are_those_of_rfc_7748() -> None:
    alice = bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
    public = "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
    assert base64.b64decode(wireguard.public_of(base64.b64encode(alice).decode())).hex() == public


@given(st.binary(min_size=32, max_size=32))
def test_a_private_key_is_clamped(raw: bytes) -> None:
    key = base64.b64decode(wireguard.private_key(lambda _: raw))
    assert key[0] % 8 == 0
    assert 64 <= key[31] < 128
    assert (key[0] | 7, key[1:31], key[31] & 63) == (raw[0] | 7, raw[1:31], raw[31] & 63)


@pytest.mark.skipif(shutil.which("wg") is None, reason="needs wg of wireguard-tools")
def test_wg_derives_the_same_public_key_of_our_private_one() -> None:
    keys = _keys()
    done = subprocess.run(["wg", "pubkey"], input=keys.private, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == keys.public
    assert wireguard.wrong_key(keys.public) is None
    assert wireguard.wrong_key(keys.preshared) is None


def test_a_user_who_brings_his_public_key_has_no_private_one_here() -> None:
    keys = _keys(_OTHER)
    assert (keys.public, keys.private) == (_OTHER, None)
    assert wireguard.wrong_key(keys.preshared) is None


def test_a_rotation_makes_everything_new_but_a_pair_that_is_the_users_own() -> None:
    chance = random.Random(2).randbytes
    made, brought = wireguard.rotated(_keys(), chance), wireguard.rotated(_keys(_OTHER), chance)
    assert made.public != _keys().public
    assert made.private not in {None, _keys().private}
    assert (brought.public, brought.private) == (_OTHER, None)
    assert _keys().preshared not in {made.preshared, brought.preshared}


def test_a_wish_changes_a_pair_only_when_it_names_another() -> None:
    chance = random.Random(2).randbytes
    made, brought = _keys(), _keys(_OTHER)
    assert wireguard.rekeyed(made, Wish(), chance) is made
    assert wireguard.rekeyed(made, Wish(public_key=None), chance) is made
    assert wireguard.rekeyed(brought, Wish(public_key=_OTHER), chance) is brought
    assert wireguard.rekeyed(made, Wish(public_key=_OTHER), chance).private is None
    again = wireguard.rekeyed(brought, Wish(public_key=None), chance)
    assert again.private is not None
    assert again.public == wireguard.public_of(again.private)
    # Whoever names the public key that was made here has the private one from here.
    assert wireguard.rekeyed(made, Wish(public_key=made.public), chance).private is None


def test_no_key_is_shown_where_keys_are_printed() -> None:
    keys = _keys()
    assert keys.private is not None
    assert keys.private not in repr(keys)
    assert keys.preshared not in repr(keys)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A" * 43 + "=",
        "A" * 44,
        _OTHER[:-1],
        _OTHER + "\n",
        "\n" + _OTHER,
        _OTHER[:-2] + "9=",
        _OTHER.replace("v", "$", 1),
        base64.b64encode(b"k" * 31).decode(),
        base64.b64encode(b"k" * 33).decode(),
        "é" * 44,
    ],
)
def test_what_is_no_key_is_refused(text: str) -> None:
    assert wireguard.wrong_key(text) is not None


@given(st.binary(min_size=32, max_size=32).filter(any))
def test_a_key_has_one_spelling(raw: bytes) -> None:
    text = base64.b64encode(raw).decode()
    assert wireguard.wrong_key(text) is None
    for last in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/":
        other = text[:42] + last + "="
        if other != text and base64.b64decode(other) == raw:
            assert wireguard.wrong_key(other) is not None


def test_every_field_of_a_wish_that_is_wrong_is_named() -> None:
    wish = Wish(public_key="x", v4="10.66.0.1", v6="fd00::")
    assert wireguard.wrong(wish, _POOLS).keys() == {"public_key", "v4", "v6"}
    assert wireguard.wrong(Wish(public_key=_OTHER, v4="10.66.0.2", v6=None), _POOLS) == {}
