"""The public halves of endpoints' keys, which clients need and answers show.

What always holds: nothing private is in what these functions return.
"""

import base64

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import x25519

#: A part of VLESS encryption that is shorter is a padding (infra/conf/vless.go).
_MIN_KEY = 20
_X25519_BYTES = 32
_RAW = (serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def reality_public(private_key: str) -> str:
    """What clients of REALITY know as its public key or password: X25519 in base64url without padding."""
    return _urlsafe(_x25519(_bytes(private_key)))


def wireguard_public(private_key: str) -> str:
    """The public key of a WireGuard interface, in base64."""
    return base64.b64encode(_x25519(base64.b64decode(private_key))).decode()


def vless_encryption(decryption: str) -> str | None:
    """What clients of VLESS encryption have as `encryption`, given the server's `decryption`.

    None where a key is one of ML-KEM-768 and the installed cryptography does not know that.
    """
    if decryption == "none":
        return "none"
    method, look, life, *parts = decryption.split(".")
    try:
        public = [_half(_bytes(part)) for part in parts if len(part) >= _MIN_KEY]
    except (ImportError, UnsupportedAlgorithm):
        return None
    # A server that gives no tickets has every client shake hands anew.
    trips = "1rtt" if life.rstrip("s") == "0" else "0rtt"
    return ".".join([method, look, trips, *map(_urlsafe, public)])


def _half(private: bytes) -> bytes:
    return _x25519(private) if len(private) == _X25519_BYTES else _mlkem(private)


def _x25519(private: bytes) -> bytes:
    return x25519.X25519PrivateKey.from_private_bytes(private).public_key().public_bytes(*_RAW)


def _mlkem(seed: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric import mlkem  # noqa: PLC0415 - old ones do not have it

    return mlkem.MLKEM768PrivateKey.from_seed_bytes(seed).public_key().public_bytes(*_RAW)


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _urlsafe(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
