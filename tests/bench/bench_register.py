"""What a million connections leave in the memory of the host that is told of them.

The register of a host is fed here, half with connections, half with clients on UDP, of which the latest live;
the kernel's lists of who lives are made up, all else is as it runs.
"""

import time
from unittest import mock

import psutil

from agent.drivers.xray import barrier, census, runfile, sockets, webhook
from tests.bench.asked import Asked
from tests.bench.figure import Figure

_EVENTS = 1_000_000
_WARM = 200_000
_LIVE = 2_000
_USERS = 10_000
_PLACES = (runfile.Place(1, "vless", 1001, "::"), runfile.Place(2, "vless", 1002, "::", networks="udp"))
_GOAL_KB = 4096


def measure(_asked: Asked) -> list[Figure]:
    """Growth over the last 800,000, and the time each takes."""
    spec = runfile.Spec("/nowhere", "/nowhere/lock", 60.0, None, "", _PLACES)
    known, process, warm_kb = census.Census(spec, 0.0), psutil.Process(), 0
    began_s = time.process_time()
    for number in range(_EVENTS):
        if number == _WARM:
            warm_kb = process.memory_info().rss // 1024
        on_udp = number % 2
        email = f"u{number // 2 % _USERS + 1}-e{1 + on_udp}"
        known.note(webhook.Event(email, _peer(number), bool(on_udp)))
        if known.grown():
            _attend(known, number)
    spent_s = time.process_time() - began_s
    grown_kb = process.memory_info().rss // 1024 - warm_kb
    return [
        Figure(name="register, growth over 800,000 connections", value=grown_kb, unit="kB", goal=_GOAL_KB),
        Figure(name="register, time of a connection", value=round(1e6 * spent_s / _EVENTS, 1), unit="µs"),
    ]


def _attend(known: census.Census, number: int) -> None:
    live = {_peer(one) for one in range(max(0, number - _LIVE), number + 1)}
    listed = [sockets.Socket(2, 1, b"", one) for one in live]
    with (
        mock.patch.object(sockets, "connections", return_value=listed),
        mock.patch.object(barrier, "seen", return_value={1002: live}),
        mock.patch.object(barrier, "links", return_value={}),
    ):
        known.attend(number / 1000)  # a thousand a second


def _peer(number: int) -> sockets.Peer:
    return sockets.Peer(number.to_bytes(6, "big"))
