"""Secrets: made here, kept as hashes only (row T9).

Passwords that people choose or type are hashed with argon2id; secrets that we make have 256 bits, so one
SHA-256 is enough for them. What always holds: checking costs the same whether or not the account exists.
"""

import hashlib
import hmac
import secrets

from argon2 import PasswordHasher, exceptions, low_level

#: OWASP Password Storage Cheat Sheet, argon2id: m = 19 MiB, t = 2, p = 1.
_MEMORY_KIB = 19_456
_PASSES = 2
_LANES = 1
_HASHER = PasswordHasher(
    time_cost=_PASSES, memory_cost=_MEMORY_KIB, parallelism=_LANES, type=low_level.Type.ID
)

#: No password has this hash (its digest is 32 zero bytes); it costs what a real one costs.
NOBODYS_HASH = f"$argon2id$v=19$m={_MEMORY_KIB},t={_PASSES},p={_LANES}${'A' * 22}${'A' * 43}"

#: Letters that cannot be mistaken for one another when read aloud or typed from a screen.
_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"
_LETTERS_PER_GROUP = 5
_GROUPS = 5


def new_password() -> str:
    """A password of 125 bits in groups, easy to type."""
    groups = ("".join(secrets.choice(_LETTERS) for _ in range(_LETTERS_PER_GROUP)) for _ in range(_GROUPS))
    return "-".join(groups)


def new_secret(prefix: str) -> str:
    """256 random bits; the prefix keeps it from looking like an option and tells what leaked if it leaks."""
    return f"{prefix}_{secrets.token_urlsafe(32)}"


def hash_password(password: str) -> str:
    """The argon2id hash in PHC form; about 20 ms and 19 MiB."""
    return _HASHER.hash(password)


def password_matches(password_hash: str | None, password: str) -> bool:
    """Whether the password is right; None is an account that does not exist, at the same cost."""
    try:
        return _HASHER.verify(password_hash or NOBODYS_HASH, password)
    except (exceptions.VerificationError, exceptions.InvalidHashError):
        return False


def hash_secret(secret: str) -> bytes:
    """The SHA-256 of a secret made by `new_secret`."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def secret_matches(secret_hash: bytes | None, secret: str) -> bool:
    """Whether the secret is right, in constant time; None is an account that does not exist."""
    return hmac.compare_digest(secret_hash or bytes(32), hash_secret(secret)) and secret_hash is not None
