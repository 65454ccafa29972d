"""Users of WireGuard endpoints: their keys, their addresses in the tunnel, what may be asked of them (H1).

What always holds: a key is 32 bytes in the one base64 that encodes them, so that it holds no character of
anybody's syntax. A private key that the user made himself is never here.
"""

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from cryptography.hazmat.primitives.asymmetric import x25519
from msgspec import UNSET, UnsetType

from collector.domain import addressing, names
from collector.domain.addressing import Pool, Version
from shared import endpoints
from shared.messages import Body
from shared.names import EndpointId, UserId

PROTOCOL = "wireguard"
KEY_BYTES = 32
_KEY = f"use {KEY_BYTES} bytes in base64, as `wg genkey | wg pubkey` prints them"

#: Gives so many bytes that nobody can guess.
Random = Callable[[int], bytes]


@dataclass(frozen=True)
class Terms:
    """What users are put on endpoints with: chance, and how long a released address rests."""

    random: Random
    rest_ms: int


@dataclass(frozen=True)
class Tunnelled:
    """An address in the tunnel; `fixed` when somebody asked for this very one (R7: constant-IP users)."""

    text: str
    fixed: bool = False


@dataclass(frozen=True, kw_only=True)
class Keys:
    """A user's keys on one endpoint; `private` is None where he keeps it himself."""

    public: str
    private: str | None = field(repr=False)
    preshared: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A user of one WireGuard endpoint, with an address of every version that the interface has."""

    user: UserId
    endpoint: EndpointId
    keys: Keys
    addresses: Mapping[Version, Tunnelled]

    @property
    def texts(self) -> tuple[str, ...]:
        """His addresses, version 4 before version 6."""
        return tuple(self.addresses[version].text for version in sorted(self.addresses))

    @property
    def fixed(self) -> tuple[str, ...]:
        """Those of them that somebody asked for."""
        return tuple(one.text for _, one in sorted(self.addresses.items()) if one.fixed)


class Wish(Body, frozen=True):
    """What is asked of a user on one endpoint; what is absent stays, or is chosen for him.

    `public_key` is one that he made; null has a pair made here. `v4` and `v6` fix his addresses; null lets
    him keep the one he has without being bound to it.
    """

    public_key: str | UnsetType | None = UNSET
    v4: str | UnsetType | None = UNSET
    v6: str | UnsetType | None = UNSET

    @property
    def addresses(self) -> dict[Version, str | None]:
        """The addresses that it names, by version."""
        asked = {Version.V4: self.v4, Version.V6: self.v6}
        return {version: text for version, text in asked.items() if not isinstance(text, UnsetType)}

    @property
    def empty(self) -> bool:
        """Whether nothing is asked."""
        return self == Wish()


def wrong(wish: Wish, among: list[Pool]) -> dict[str, str]:
    """What is wrong with a wish, by field, given the endpoint's networks."""
    key = wish.public_key
    addresses = {
        f"v{version}": addressing.wrong(text, version, among)
        for version, text in wish.addresses.items()
        if text is not None
    }
    return names.collect(public_key=wrong_key(key) if isinstance(key, str) else None, **addresses)


def wrong_key(text: str) -> str | None:
    """What is wrong with a key, or None."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return _KEY
    # Base64 has several texts for one value: bits that no byte has must be zero.
    if len(raw) != KEY_BYTES or base64.b64encode(raw).decode("ascii") != text:
        return _KEY
    return None if any(raw) else "a key of nothing but zeros is none; make one with `wg genkey | wg pubkey`"


def new_keys(random: Random, public_key: str | None = None) -> Keys:
    """Keys for a user; given his public key, he keeps the private one himself."""
    private = None if public_key else private_key(random)
    public = public_key or public_of(private or "")
    return Keys(public=public, private=private, preshared=_text(random(KEY_BYTES)))


def rotated(keys: Keys, random: Random) -> Keys:
    """New keys; of a pair that the user made he keeps both halves, and gets a new preshared key."""
    return new_keys(random, public_key=None if keys.private else keys.public)


def rekeyed(keys: Keys, wish: Wish, random: Random) -> Keys:
    """The keys after a wish: another pair comes with another preshared key."""
    wanted = wish.public_key
    if isinstance(wanted, UnsetType) or (wanted is None and keys.private is not None):
        return keys
    return keys if wanted == keys.public and keys.private is None else new_keys(random, public_key=wanted)


def private_key(random: Random) -> str:
    """A private key, clamped as RFC 7748 section 5 has it."""
    raw = bytearray(random(KEY_BYTES))
    raw[0] &= 248
    raw[31] = (raw[31] & 127) | 64
    return _text(bytes(raw))


def public_of(private: str) -> str:
    """The public key that belongs to a private one."""
    made = x25519.X25519PrivateKey.from_private_bytes(base64.b64decode(private))
    return _text(made.public_key().public_bytes_raw())


def item(peer: Peer) -> endpoints.Peer:
    """The user as his node is told of him."""
    return endpoints.Peer(
        public_key=peer.keys.public, preshared_key=peer.keys.preshared, addresses=peer.texts
    )


def with_address(peer: Peer, version: Version, address: Tunnelled | None) -> Peer:
    """The user with another address of this version, or none."""
    others = {one: kept for one, kept in peer.addresses.items() if one is not version}
    return replace(peer, addresses=others if address is None else {**others, version: address})


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")
