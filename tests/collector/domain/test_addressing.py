"""Addresses in tunnels: what a network has to give, and which one comes next."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.domain import addressing
from collector.domain.addressing import Version

_SMALL = ipaddress.ip_network("10.66.0.0/27")


def _pool(*interface: str) -> addressing.Pool:
    return addressing.pools(interface)[0]


def test_a_network_gives_all_but_its_ends_and_the_interface_itself() -> None:
    pool = _pool("10.66.0.1/29")
    assert (pool.address(pool.first), pool.address(pool.last)) == (
        ipaddress.ip_address("10.66.0.1"),
        ipaddress.ip_address("10.66.0.6"),
    )
    given_out, at = [], pool.first
    while (at := addressing.gap(at, [], pool)) <= pool.last:
        given_out.append(str(pool.address(at)))
        at += 1
    assert given_out == [f"10.66.0.{number}" for number in range(2, 7)]


def test_a_network_of_version_6_has_no_broadcast_address() -> None:
    pool = _pool("fd00::1/126")
    assert [str(pool.address(number)) for number in range(pool.first, pool.last + 1)] == [
        *("fd00::1", "fd00::2", "fd00::3")
    ]


def test_both_addresses_of_the_smallest_networks_are_given() -> None:
    for interface, other in (("10.0.0.0/31", "10.0.0.1"), ("fd00::/127", "fd00::1")):
        pool = _pool(interface)
        assert str(pool.address(addressing.gap(pool.first, [], pool))) == other
    alone = _pool("10.0.0.1/32")
    assert addressing.gap(alone.first, [], alone) > alone.last


def test_networks_are_named_once_and_all_addresses_of_the_interface_are_its_own() -> None:
    pools = addressing.pools(["10.0.0.1/24", "10.0.0.2/24", "fd00::1/64"])
    assert [str(pool.network) for pool in pools] == ["10.0.0.0/24", "fd00::/64"]
    assert addressing.gap(pools[0].first, [], pools[0]) == pools[0].first + 2


@given(
    st.integers(16, 126),
    st.integers(0, 2**128 - 1),
    st.integers(0, 2**32),
)
def test_numbers_of_a_network_of_version_6_fit_a_column_and_lead_back(
    length: int, base: int, place: int
) -> None:
    network = ipaddress.ip_network((base, length), strict=False)
    pool = addressing.Pool(network, frozenset())
    assert 0 <= pool.first <= pool.last < 2**63
    number = min(pool.first + place, pool.last)
    address = pool.address(number)
    assert pool.holds(address)
    assert addressing.number(address) == number
    assert pool.last - pool.first < 2**32


@given(st.sets(st.sampled_from(list(_SMALL))), st.integers(0, 31))
def test_the_next_address_is_the_first_that_nobody_has(taken: set[ipaddress.IPv4Address], from_: int) -> None:
    pool = _pool("10.66.0.9/27", "10.66.0.10/27")
    numbers = sorted(addressing.number(one) for one in taken)
    at = addressing.number(_SMALL[from_])
    found = addressing.gap(at, [one for one in numbers if one >= at], pool)
    free = [
        number
        for number in range(at, addressing.number(_SMALL[0]) + 100)
        if number not in numbers and pool.network.network_address + (number - pool.first + 1) not in pool.own
    ]
    assert found == free[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("10.66.0.1", "own"),
        ("10.66.0.0", "first or last"),
        ("10.66.255.255", "first or last"),
        ("10.67.0.1", "10.66.0.0/16"),
        ("10.66.0.5/32", "without a length"),
        ("10.66.0.05", "version 4"),
        ("10.66.0.5\nPostUp = id", "version 4"),
        ("fd00::5", "version 4"),
        ("", "version 4"),
    ],
)
def test_an_address_that_cannot_be_had_is_refused_with_the_reason(text: str, words: str) -> None:
    problem = addressing.wrong(text, Version.V4, addressing.pools(["10.66.0.1/16"]))
    assert problem is not None
    assert words in problem


def test_an_address_of_version_6_is_taken_in_its_one_spelling_and_without_a_zone() -> None:
    pools = addressing.pools(["fd00:1::1/64"])
    assert addressing.wrong("fd00:1::ffff:5", Version.V6, pools) is None
    for text in ("fd00:1:0::5", "FD00:1::5", "fd00:1::0.0.0.5"):
        assert addressing.wrong(text, Version.V6, pools) == f"write it as {ipaddress.ip_address(text)}"
    assert "zone" in (addressing.wrong("fd00:1::5%wg0\nDNS = x", Version.V6, pools) or "")
    assert "no address of version 4" in (addressing.wrong("10.0.0.5", Version.V4, pools) or "")
