"""Interfaces and changes for tests of the two languages, and what wireguard-go would print of them."""

import base64
import ipaddress
import random
import re

from hypothesis import strategies as st

from agent.drivers.wireguard.peers import Change, Seen, State

#: All words that are ever said to wireguard-go.
WORDS = {
    *(b"set", b"public_key", b"update_only", b"remove", b"preshared_key", b"replace_allowed_ips"),
    b"allowed_ip",
}
VALUE = re.compile(rb"1|true|[0-9a-f]{64}|[0-9a-f:.]+/[0-9]+")

_RAW_KEYS = st.binary(min_size=32, max_size=32)
KEYS = _RAW_KEYS.map(lambda raw: base64.b64encode(raw).decode())
_SECRETS = _RAW_KEYS.filter(any).map(lambda raw: base64.b64encode(raw).decode())
_FOUR = st.builds(
    lambda n, bits: str(ipaddress.ip_network((n, bits), strict=False)),
    st.integers(0, 2**32 - 1),
    st.integers(0, 32),
)
_SIX = st.builds(
    lambda n, bits: str(ipaddress.ip_network((n, bits), strict=False)),
    st.integers(2**64, 2**128 - 1),
    st.integers(0, 128),
)
ALLOWED = st.lists(st.one_of(_FOUR, _SIX), max_size=3, unique=True).map(tuple)
_SIXES = st.integers(2**64, 2**128 - 1).map(ipaddress.IPv6Address)
_ENDPOINTS = st.one_of(
    st.just(""),
    st.builds("{}:{}".format, st.ip_addresses(v=4), st.integers(1, 65535)),
    st.builds("[{}]:{}".format, _SIXES, st.integers(1, 65535)),
)
_COUNTERS = st.integers(0, 2**63 - 1)
SEEN = st.builds(
    Seen, KEYS, st.none() | _SECRETS, ALLOWED, _ENDPOINTS, st.integers(0, 2**40), _COUNTERS, _COUNTERS
)
STATES = st.builds(
    lambda private, port, peers: State(
        private_key=private, port=port, peers={peer.key: peer for peer in peers}
    ),
    KEYS,
    st.integers(0, 65535),
    st.lists(SEEN, max_size=5),
)
CHANGES = st.builds(
    Change, KEYS, st.none() | ALLOWED, st.sampled_from([None, ""]) | KEYS, st.booleans(), st.booleans()
)


def key(generator: random.Random) -> str:
    """A key of a seeded generator."""
    return base64.b64encode(generator.randbytes(32)).decode()


def answer(state: State) -> bytes:
    """What wireguard-go 0.0.20220316 prints of this interface."""
    lines = [f"private_key={_hex(state.private_key)}", f"listen_port={state.port}"]
    for peer in state.peers.values():
        lines += [f"public_key={_hex(peer.key)}"]
        lines += [
            f"preshared_key={_hex(peer.preshared) if peer.preshared else '0' * 64}",
            "protocol_version=1",
        ]
        lines += [f"endpoint={peer.endpoint}"] if peer.endpoint else []
        lines += [f"last_handshake_time_sec={peer.handshake_s}", "last_handshake_time_nsec=5"]
        lines += [f"tx_bytes={peer.tx}", f"rx_bytes={peer.rx}", "persistent_keepalive_interval=0"]
        lines += [f"allowed_ip={network}" for network in peer.allowed]
    return "\n".join([*lines, "errno=0", "", ""]).encode()


def _hex(text: str) -> str:
    return base64.b64decode(text).hex()
