"""A search that finds nothing proves something only when it would have found."""

import ipaddress
import json
import socket
import struct

import pytest

from tests.kit import spellings

V4, V6 = "10.213.147.3", "fd5a:3c91:7e42:d103::e203"


@pytest.mark.parametrize(
    "content",
    [
        json.dumps({"source": f"{V4}:4711"}).encode(),
        f"tcp:{V4} accepted".encode(),
        f"[::ffff:{V4}]:443".encode(),
        b"[::ffff:ad5:9303]:443",
        b"\x00\x01" + socket.inet_aton(V4) + b"\xff",
        struct.pack("<I", int(ipaddress.IPv4Address(V4))),
        b'"0AD59303"',
        b"x'0ad59303'",
        b"0a:d5:93:03",
        b"[181768963]"
        if int(ipaddress.IPv4Address(V4)) == 181768963
        else str(int(ipaddress.IPv4Address(V4))).encode(),
        b"CtWTAw==",
        b"3.147.213.10.in-addr.arpa",
    ],
)
def test_an_address_of_version_4_is_found_in_every_spelling(content: bytes) -> None:
    assert spellings.found(content, V4)


@pytest.mark.parametrize(
    "content",
    [
        f"[{V6}]:4711".encode(),
        V6.upper().encode(),
        b"fd5a:3c91:7e42:d103:0000:0000:0000:e203",
        b"fd5a:3c91:7e42:d103::/64",
        socket.inet_pton(socket.AF_INET6, V6),
        socket.inet_pton(socket.AF_INET6, V6)[:8],
        ipaddress.IPv6Address(V6).packed.hex().encode(),
        str(int(ipaddress.IPv6Address(V6))).encode(),
    ],
)
def test_an_address_of_version_6_and_its_prefix_are_found_in_every_spelling(content: bytes) -> None:
    assert spellings.found(content, V6)


def test_other_addresses_are_not_taken_for_it() -> None:
    assert not spellings.found(b"110.213.147.3 10.213.147.30 10.213.148.3", V4)
    assert not spellings.found(b"fd5a:3c91:7e42:d104::e203", V6)
