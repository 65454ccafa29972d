"""Configurations for wg-quick: what they say, and that nothing can be put into them."""

import configparser
import dataclasses
import random
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.domain import wgquick, wireguard
from collector.domain.wgquick import Tunnel

_CHANCE = random.Random(3).randbytes
_INTERFACE = wireguard.new_keys(_CHANCE)
_KEYS = wireguard.new_keys(_CHANCE)
#: All that a configuration may consist of.
_LINE = re.compile(r"(# )?[A-Za-z0-9 ._@=,:;/\[\]+-]*")


_USUAL = Tunnel(
    title="ada at main",
    keys=_KEYS,
    addresses=("10.66.0.2", "fd00::2"),
    dns=("1.1.1.1", "2606:4700:4700::1111"),
    mtu=1420,
    public_key=_INTERFACE.public,
    host="vpn.example.org",
    port=51820,
)


def _tunnel(**fields: Any) -> Tunnel:  # noqa: ANN401 - as Tunnel has them
    return dataclasses.replace(_USUAL, **fields)


def test_a_configuration_has_everything_an_app_needs() -> None:
    assert wgquick.text(_tunnel()) == (
        "# ada at main\n"
        "[Interface]\n"
        f"PrivateKey = {_KEYS.private}\n"
        "Address = 10.66.0.2/32, fd00::2/128\n"
        "DNS = 1.1.1.1, 2606:4700:4700::1111\n"
        "MTU = 1420\n"
        "\n"
        "[Peer]\n"
        f"PublicKey = {_INTERFACE.public}\n"
        f"PresharedKey = {_KEYS.preshared}\n"
        "Endpoint = vpn.example.org:51820\n"
        "AllowedIPs = 0.0.0.0/0, ::/0\n"
        "PersistentKeepalive = 25\n"
    )


def test_an_address_of_version_6_stands_in_brackets_before_its_port() -> None:
    assert "Endpoint = [2001:db8::1]:51820\n" in wgquick.text(_tunnel(host="2001:DB8::0:1"))
    assert "Endpoint = 192.0.2.1:51820\n" in wgquick.text(_tunnel(host="192.0.2.1"))


def test_dns_servers_that_the_user_could_not_reach_are_left_out() -> None:
    assert "DNS = 1.1.1.1\n" in wgquick.text(_tunnel(addresses=("10.66.0.2",)))
    assert "DNS" not in wgquick.text(_tunnel(dns=()))
    assert "DNS" not in wgquick.text(_tunnel(addresses=("10.66.0.2",), dns=("2606:4700:4700::1111",)))


def test_who_has_his_private_key_himself_is_told_where_it_goes() -> None:
    keys = wireguard.new_keys(_CHANCE, _KEYS.public)
    text = wgquick.text(_tunnel(keys=keys))
    assert f"PrivateKey = {wgquick.PLACEHOLDER}\n" in text
    assert f"# it is the one that belongs to the public key {_KEYS.public}\n" in text


@given(st.text(max_size=80), st.sampled_from(["\n", "\r", "\u2028", "\x00", "`id`", "$(id)", "#", "]", "'"]))
def test_no_name_can_put_a_line_or_a_command_into_a_configuration(name: str, odd: str) -> None:
    lines = wgquick.text(_tunnel(title=f"{odd}{name}{odd}\nPostUp = id")).split("\n")
    assert all(_LINE.fullmatch(line) for line in lines)
    assert [line for line in lines if line[:1] != "#"] == wgquick.text(_tunnel()).split("\n")[1:]
    assert len(lines[0].splitlines()) == 1


@given(st.text(max_size=30))
def test_no_host_can_put_anything_into_a_configuration(host: str) -> None:
    try:
        lines = wgquick.text(_tunnel(host=host)).split("\n")
    except ValueError:
        return
    assert all(_LINE.fullmatch(line) for line in lines)
    assert len(lines) == wgquick.text(_tunnel()).count("\n") + 1


@pytest.mark.parametrize(
    "fields",
    [
        {"host": "h\nPostUp = id"},
        {"host": "h\n"},
        {"host": "h;id"},
        {"host": ""},
        {"host": "fe80::1%eth0\nPostUp = id"},
        {"addresses": ("10.0.0.2\nPostUp = id",)},
        {"dns": ("1.1.1.1\nPostUp = id",)},
        {"public_key": _INTERFACE.public + "\nPostUp = id"},
    ],
)
def test_what_is_no_value_makes_no_configuration(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        wgquick.text(_tunnel(**fields))


@pytest.mark.skipif(shutil.which("wg-quick") is None, reason="needs wg-quick of wireguard-tools")
@pytest.mark.parametrize("host", ["vpn.example.org", "2001:db8::1"])
def test_wg_quick_reads_it_and_hands_wg_the_rest(tmp_path: Path, host: str) -> None:
    path = tmp_path / "tide0.conf"
    path.write_text(wgquick.text(_tunnel(host=host)))
    path.chmod(0o600)
    done = subprocess.run(["wg-quick", "strip", str(path)], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    left = configparser.ConfigParser(delimiters=["="], interpolation=None)
    left.read_string(done.stdout)
    assert dict(left["Interface"]) == {"privatekey": _KEYS.private}
    assert dict(left["Peer"]) == {
        "publickey": _INTERFACE.public,
        "presharedkey": _KEYS.preshared,
        "endpoint": f"{wgquick.authority(host)}:51820",
        "allowedips": "0.0.0.0/0, ::/0",
        "persistentkeepalive": "25",
    }
