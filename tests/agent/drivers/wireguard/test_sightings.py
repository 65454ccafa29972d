"""From where keys are used: one address is one, several in a short time are several."""

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from agent.drivers.wireguard import sightings
from agent.drivers.wireguard.peers import Seen


def seen(endpoint: str, key: str = "k") -> Seen:
    return Seen(key, None, (), endpoint, 1, 1, 1)


def test_a_key_used_from_two_addresses_counts_as_two_until_one_is_quiet_for_a_session_s_life() -> None:
    heard = sightings.Sightings()
    heard.note([seen("198.51.100.7:1000")], 0.0)
    heard.note([seen("198.51.100.7:2000")], 1.0)
    heard.note([seen("[2001:db8::1]:53"), seen("192.0.2.1:1", "other")], 2.0)
    assert [str(one) for one in heard.of("k", 3.0)] == ["198.51.100.7", "2001:db8::1"]
    assert [str(one) for one in heard.of("k", 1.5 + sightings.SESSION_S)] == ["2001:db8::1"]
    heard.forget(["k"])
    assert list(heard.of("k", 3.0)) == []


def test_scopes_are_left_out_and_mapped_addresses_are_those_of_version_4() -> None:
    heard = sightings.Sightings()
    heard.note([seen("[fe80::1%eth0]:53"), seen("[::ffff:192.0.2.1]:53")], 0.0)
    assert list(heard.of("k", 1.0)) == [ipaddress.ip_address("fe80::1"), ipaddress.ip_address("192.0.2.1")]


def test_a_key_that_changes_its_address_all_the_time_does_not_fill_the_memory() -> None:
    heard = sightings.Sightings()
    for number in range(1000):
        heard.note([seen(f"198.51.{number >> 8}.{number & 255}:5")], number / 1000)
    found = list(heard.of("k", 1.0))
    assert len(found) == 128
    assert str(found[-1]) == "198.51.3.231"


@given(st.text(max_size=30))
def test_an_endpoint_that_is_none_is_no_address(rubbish: str) -> None:
    heard = sightings.Sightings()
    heard.note([seen(rubbish)], 0.0)
    assert len(list(heard.of("k", 0.0))) <= 1
