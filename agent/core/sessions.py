"""Clients told apart without their addresses being known: a keyed hash for each (row H6).

What always holds: without the key, which lives for a day in memory, a hash leads back to no address; under
one key one client has one hash on every node. IPv4 counts whole, also when it comes mapped into IPv6
(RFC 4291 section 2.5.5.2); IPv6 counts by /64, which is what one household gets (RFC 6177).
"""

import hashlib
import ipaddress
from typing import NamedTuple

from shared.names import EndpointId, UserId

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

HASH_BYTES = 16
_PREFIX_BYTES = 8


class Session(NamedTuple):
    """A user is connected to an endpoint from this address."""

    user: UserId
    endpoint: EndpointId
    address: Address


def hashed(key: bytes, address: Address) -> str:
    """The hash of an address under a key of up to 64 bytes (BLAKE2b, RFC 7693), as 32 hexadecimal digits."""
    return hashlib.blake2b(_counted(address), key=key, digest_size=HASH_BYTES).hexdigest()


def _counted(address: Address) -> bytes:
    if isinstance(address, ipaddress.IPv4Address):
        return address.packed
    mapped = address.ipv4_mapped
    return address.packed[:_PREFIX_BYTES] if mapped is None else mapped.packed
