"""Nothing gets into an interface, a rule set or a command that is more than a value."""

import base64
import string
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.drivers.wireguard import checks, options
from shared import endpoints
from shared.messages import Endpoint
from shared.names import EndpointId
from tests.kit import wireguard

LINK = checks.link(wireguard.endpoint(wireguard.keys(), 51820))
EVIL = st.text(st.sampled_from(string.printable), max_size=60)
HARMLESS = set(string.ascii_letters + string.digits + "+/=.:")


def peer(**fields: object) -> endpoints.Peer:
    user = wireguard.user(5)
    good = endpoints.Peer(public_key=user.keys.public, addresses=user.addresses)
    return msgspec.structs.replace(good, **fields)


def changed(**fields: object) -> Endpoint:
    good = wireguard.endpoint(wireguard.keys(), 51820)
    assert good.options is not None
    return msgspec.structs.replace(good, options=msgspec.structs.replace(good.options, **fields))


@given(EVIL, EVIL, EVIL)
@example("10.66.0.9\nPostUp = reboot", "A" * 44, "")
@example("fd66::9%eth0;reboot", "", "")
@example("10.66.0.9/32", "", "")
def test_an_account_gets_through_as_values_or_not_at_all(address: str, key: str, preshared: str) -> None:
    good = peer()
    for fields in ({"addresses": (address,)}, {"public_key": key}, {"preshared_key": preshared}):
        account = wireguard.user(5).account()
        try:
            wanted = checks.wanted(
                msgspec.structs.replace(account, peer=msgspec.structs.replace(good, **fields)), LINK
            )
        except ValueError:
            continue
        assert set("".join([wanted.key, wanted.preshared or "", *wanted.allowed])) <= HARMLESS


@given(EVIL)
@example("10.8.0.1/24\n")
@example("10.8.0.1/24 dev lo")
@example("10.8.0.1")
@example("10.8.0.1/255.255.255.0")
@example("fe80::1%a;b/64")
def test_an_endpoint_gets_through_as_values_or_not_at_all(text: str) -> None:
    for fields in ({"addresses": (text,)}, {"private_key": text}):
        try:
            link = checks.link(changed(**fields))
        except ValueError:
            continue
        assert set("".join([link.private_key, *link.addresses, *map(str, link.networks)])) <= HARMLESS


@given(EVIL)
def test_an_interface_s_name_gets_through_only_when_it_is_plain(name: str) -> None:
    try:
        found = checks.interface_name(name)
    except ValueError:
        return
    assert set(found) <= set(string.ascii_lowercase + string.digits + "-")
    assert len(found) <= 15


REFUSED = [
    (changed(mtu=500), "mtu must be between 1280 and 9216"),
    (changed(addresses=()), "has no addresses"),
    (changed(addresses=("10.8.0.1",)), "with a length"),
    (changed(private_key="x"), "its private key is not a WireGuard key"),
    (msgspec.structs.replace(changed(), listen="192.0.2.1"), "leave listen at 0.0.0.0"),
    (msgspec.structs.replace(changed(), port=0), "port must be between"),
    (msgspec.structs.replace(changed(), options=None), "must be those of WireGuard"),
    (Endpoint(endpoint=EndpointId(1), protocol="vless", port=1), "no endpoint of WireGuard"),
]


@pytest.mark.parametrize(("endpoint", "sentence"), REFUSED, ids=[sentence for _, sentence in REFUSED])
def test_an_endpoint_that_cannot_be_served_is_refused_in_words(endpoint: Endpoint, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        checks.link(endpoint)


UNSERVED = [
    (None, "it has no WireGuard key"),
    (peer(public_key="x"), "its public key is not a WireGuard key"),
    (peer(preshared_key="x"), "its preshared key is not a WireGuard key"),
    (peer(addresses=()), "it has no address"),
    (peer(addresses=("192.0.2.9",)), "in no network of the endpoint"),
    (peer(addresses=("10.66.0.1",)), "the endpoint's own"),
    (peer(addresses=("::ffff:10.66.0.9",)), "no address of version 4 in one of version 6"),
]


@pytest.mark.parametrize(("told", "sentence"), UNSERVED, ids=[sentence for _, sentence in UNSERVED])
def test_an_account_that_cannot_be_served_is_refused_in_words(
    told: endpoints.Peer | None, sentence: str
) -> None:
    account = msgspec.structs.replace(wireguard.user(5).account(), peer=told)
    with pytest.raises(ValueError, match=sentence):
        checks.wanted(account, LINK)


def test_a_key_that_is_none_is_not_repeated() -> None:
    with pytest.raises(ValueError, match="its preshared key") as caught:
        checks.wanted(
            msgspec.structs.replace(wireguard.user(5).account(), peer=peer(preshared_key="open-sesame")), LINK
        )
    assert "sesame" not in str(caught.value)


def test_a_speed_limit_of_nothing_is_refused() -> None:
    account = wireguard.user(5).account(endpoints.Rate(down_kbps=0))
    with pytest.raises(ValueError, match="must be between 1 and"):
        checks.wanted(account, LINK)


def test_spellings_become_one() -> None:
    spelt = peer(addresses=("FD66:0:0::9",), preshared_key="")
    wanted = checks.wanted(msgspec.structs.replace(wireguard.user(5).account(), peer=spelt), LINK)
    assert (wanted.addresses, wanted.allowed, wanted.preshared) == (("fd66::9",), ("fd66::9/128",), None)


def test_keys_are_canonical() -> None:
    raw = bytes(range(32))
    text = base64.b64encode(raw).decode()
    assert checks.key(text) == text
    with pytest.raises(ValueError, match="not a WireGuard key"):
        checks.key(base64.urlsafe_b64encode(b"\xff" * 32).decode())


def test_a_prefix_that_leaves_no_room_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1 signs too long"):
        options.Options(run_dir=tmp_path, prefix="tides")
    with pytest.raises(ValueError, match="begins with a letter"):
        options.Options(run_dir=tmp_path, prefix="1;x")
    assert options.Options(run_dir=tmp_path).interface(EndpointId(2**31 - 1)) == "tg2147483647"
