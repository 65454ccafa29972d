"""One client has one hash, nobody else has it, and it tells nothing of him."""

import ipaddress
import socket

from hypothesis import given
from hypothesis import strategies as st

from agent.core import sessions

V4 = st.ip_addresses(v=4)
V6 = st.builds(ipaddress.IPv6Address, st.integers(2**48, 2**128 - 1))
KEYS = st.binary(min_size=32, max_size=32)


@given(KEYS, st.one_of(V4, V6))
def test_the_same_address_under_the_same_key_is_the_same_hash(key: bytes, address: sessions.Address) -> None:
    again = ipaddress.ip_address(str(address))
    assert sessions.hashed(key, address) == sessions.hashed(key, again)
    assert len(sessions.hashed(key, address)) == 2 * sessions.HASH_BYTES
    assert int(sessions.hashed(key, address), 16) >= 0


@given(KEYS, V4, V4)
def test_every_address_of_version_4_counts_by_itself(
    key: bytes, one: ipaddress.IPv4Address, other: ipaddress.IPv4Address
) -> None:
    assert (sessions.hashed(key, one) == sessions.hashed(key, other)) == (one == other)


@given(KEYS, V4)
def test_an_address_of_version_4_that_comes_mapped_is_the_same_client(
    key: bytes, address: ipaddress.IPv4Address
) -> None:
    mapped = ipaddress.IPv6Address(f"::ffff:{address}")
    assert sessions.hashed(key, mapped) == sessions.hashed(key, address)


@given(KEYS, V6, st.integers(0, 127))
def test_addresses_of_version_6_are_one_client_when_they_share_their_first_64_bits(
    key: bytes, address: ipaddress.IPv6Address, bit: int
) -> None:
    other = ipaddress.IPv6Address(int(address) ^ (1 << bit))
    if other.ipv4_mapped is None:
        assert (sessions.hashed(key, address) == sessions.hashed(key, other)) == (bit < 64)


@given(KEYS, KEYS, st.one_of(V4, V6))
def test_another_key_gives_another_hash(key: bytes, other: bytes, address: sessions.Address) -> None:
    assert (sessions.hashed(key, address) == sessions.hashed(other, address)) == (key == other)


def test_a_short_address_and_the_start_of_a_long_one_are_not_confused() -> None:
    key = b"k" * 32
    four = ipaddress.IPv4Address("32.1.13.184")
    six = ipaddress.IPv6Address(socket.inet_pton(socket.AF_INET6, "2001:db8::"))
    assert six.packed.startswith(four.packed)
    assert sessions.hashed(key, four) != sessions.hashed(key, six)
