"""Public halves of keys: they agree with the private ones, in the writing of each protocol."""

import base64
import sys

import pytest
from cryptography.hazmat.primitives import asymmetric
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from collector import keys

PRIVATE = bytes(range(32))
OTHER = X25519PrivateKey.from_private_bytes(bytes(range(100, 132)))


def _urlsafe(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _raw(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _agrees(public: bytes) -> bool:
    ours = X25519PrivateKey.from_private_bytes(PRIVATE).exchange(OTHER.public_key())
    return ours == OTHER.exchange(X25519PublicKey.from_public_bytes(public))


def test_the_public_key_of_reality_is_x25519_in_base64url_without_padding() -> None:
    public = keys.reality_public(_urlsafe(PRIVATE))
    assert len(public) == 43
    assert _agrees(_raw(public))


def test_the_public_key_of_wireguard_is_x25519_in_base64() -> None:
    public = keys.wireguard_public(base64.b64encode(PRIVATE).decode())
    assert len(public) == 44
    assert _agrees(base64.b64decode(public, validate=True))


def test_clients_of_vless_encryption_get_the_public_keys_in_their_order() -> None:
    seed = bytes(range(64))
    decryption = f"mlkem768x25519plus.xorpub.600s.100-111-1111.{_urlsafe(PRIVATE)}.{_urlsafe(seed)}"
    encryption = keys.vless_encryption(decryption)
    assert encryption is not None
    *head, first, second = encryption.split(".")
    assert head == ["mlkem768x25519plus", "xorpub", "0rtt"]
    assert _agrees(_raw(first))
    assert len(_raw(second)) == 1184  # FIPS 203: an encapsulation key of ML-KEM-768
    assert seed not in _raw(second)


def test_a_server_without_tickets_has_clients_shake_hands_anew() -> None:
    encryption = keys.vless_encryption(f"mlkem768x25519plus.native.0s.{_urlsafe(PRIVATE)}")
    assert encryption is not None
    assert encryption.startswith("mlkem768x25519plus.native.1rtt.")


def test_no_encryption_is_none_on_both_sides() -> None:
    assert keys.vless_encryption("none") == "none"


def test_what_cannot_be_worked_out_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, f"{asymmetric.__name__}.mlkem", None)
    monkeypatch.delattr(asymmetric, "mlkem", raising=False)
    assert keys.vless_encryption(f"mlkem768x25519plus.native.600s.{_urlsafe(bytes(64))}") is None
