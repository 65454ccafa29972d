"""The module's netlink, held against pyroute2 and against bytes that were written down."""

import base64
import struct
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pyroute2.netlink.generic import wireguard

from agent.drivers.wireguard import netlink
from agent.drivers.wireguard.peers import Change
from tests.agent.drivers.wireguard import samples

#: Peer of ones, 10.0.0.1/32 instead of what it had, on wg0, as linux/wireguard.h lays it out: the header
#: (length, family 37, request and ack, 7th), set device version 1, the name, peers, the first, its key, its
#: flags, its addresses, the first: family, address, length.
BY_HAND = bytes.fromhex(
    """
    70000000 2500 0500 07000000 00000000 01010000
    0800 0200 77673000
    5400 0880 5000 0080
    2400 0100 0101010101010101010101010101010101010101010101010101010101010101
    0800 0300 02000000
    2000 0980 1c00 0080 0600 0100 02000000 0800 0200 0a000001 0500 0300 20000000
    """
)


def decoded(message: bytes) -> Any:  # noqa: ANN401 - pyroute2 types nothing
    found = wireguard.wgmsg(message)
    found.decode()
    return found


def test_a_change_is_laid_out_as_the_kernel_s_header_says() -> None:
    key = base64.b64encode(b"\x01" * 32).decode()
    assert netlink.changes(37, 7, "wg0", [Change(key, allowed=("10.0.0.1/32",))]) == BY_HAND


@given(st.lists(samples.CHANGES, max_size=8))
def test_pyroute2_reads_in_a_change_what_was_meant(changes: list[Change]) -> None:
    message = decoded(netlink.changes(37, 1, "tg1", changes))
    told = message.get_attr("WGDEVICE_A_PEERS") or []
    assert len(told) == len(changes)
    for peer, change in zip(told, changes, strict=True):
        assert peer.get_attr("WGPEER_A_PUBLIC_KEY").decode() == change.key
        flags = peer.get_attr("WGPEER_A_FLAGS")
        assert bool(flags & wireguard.WGPEER_F_REMOVE_ME) == change.remove
        assert bool(flags & wireguard.WGPEER_F_UPDATE_ONLY) == (change.only_known or change.remove)
        assert bool(flags & wireguard.WGPEER_F_REPLACE_ALLOWEDIPS) == (change.allowed is not None)
        allowed = tuple(one["addr"] for one in peer.get_attr("WGPEER_A_ALLOWEDIPS") or [])
        assert allowed == (change.allowed or ())
        preshared = peer.get_attr("WGPEER_A_PRESHARED_KEY")
        meant = base64.b64encode(bytes(32)).decode() if change.preshared == "" else change.preshared
        assert (None if preshared is None else preshared.decode()) == meant


@given(st.binary(max_size=300))
@example(BY_HAND[:-1])
@example(struct.pack("=IHHII", 2**31, 37, 0, 1, 0))
@example(struct.pack("=IHHII", 0, 37, 0, 1, 0))
def test_rubbish_is_refused_and_nothing_else_is_raised(rubbish: bytes) -> None:
    try:
        for reply in netlink.replies(rubbish):
            assert isinstance(reply.errno, int)
            netlink.Dump().take(reply)
            netlink.family(reply)
    except netlink.NetlinkError:
        return


@given(st.binary(max_size=200))
def test_attributes_of_rubbish_are_refused_too(rubbish: bytes) -> None:
    payload = b"\0\1\0\0" + struct.pack("=HH", 4 + len(rubbish), 0x8008) + rubbish
    try:
        netlink.Dump().take(netlink.Reply(37, 1, payload + bytes(-len(payload) % 4)))
    except netlink.NetlinkError:
        return


def test_a_list_that_no_message_holds_is_not_sent() -> None:
    key = base64.b64encode(bytes(32)).decode()
    with pytest.raises(netlink.NetlinkError):
        netlink.changes(37, 1, "tg1", [Change(key, allowed=("10.0.0.1/32",))] * 2000)


def test_the_family_is_asked_for_by_its_name() -> None:
    asked = netlink.ask_family(9)
    assert asked.endswith(b"wireguard\0\0\0")
    assert struct.unpack_from("=IHHI", asked) == (len(asked), 16, 5, 9)
