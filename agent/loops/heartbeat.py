"""Tells the collector how the node is: load, bandwidth, latency, what it cannot do, what went wrong (R1, R5).

What always holds: an incident is repeated until the collector says that it has stored it. Bandwidth is what
passed the machine's interfaces, the loopback not counted, in bits per second since the last heartbeat.
"""

import time
from dataclasses import dataclass

import psutil

from agent import release
from agent.ledger import LedgerError
from agent.loops import pace
from agent.loops.node import Node, now_ms
from shared.messages import Heartbeat


@dataclass(frozen=True, kw_only=True)
class Octets:
    """Bytes through the interfaces at one moment, in monotonic seconds."""

    at_s: float
    received: int
    sent: int


class HeartbeatLoop:
    """From the machine to the collector."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._latency_ms = 0.0
        self._octets = octets()
        # The first call starts psutil's interval and always answers 0.
        psutil.cpu_percent(interval=None)

    async def once(self) -> float:
        """One heartbeat; returns the seconds until the next, which an incident cuts short."""
        node = self._node
        heartbeat = await self._measured()
        began_s = time.monotonic()
        answer = await node.link.heartbeat(heartbeat)
        self._latency_ms = round(1000 * (time.monotonic() - began_s), 2)
        try:
            node.ledger.forget_incidents(answer.incidents_seen)
            node.ledger.note("last_contact_ms", now_ms())
        except LedgerError as error:
            node.trouble("ledger", str(error))
        await pace.nudged(node.unwell, pace.jittered(node.pace.heartbeat_s))
        return 0.0

    async def run(self) -> None:
        """Beat for ever."""
        await pace.forever(self._node, "heartbeat", self.once)

    async def _measured(self) -> Heartbeat:
        node = self._node
        states = [await core.driver.status() for core in node.cores]
        before, self._octets = self._octets, octets()
        received_bps, sent_bps = bandwidth(before, self._octets)
        return Heartbeat(
            cpu_percent=psutil.cpu_percent(interval=None),
            memory_percent=psutil.virtual_memory().percent,
            bandwidth_in_bps=received_bps,
            bandwidth_out_bps=sent_bps,
            latency_ms=self._latency_ms,
            generation=node.holding.generation,
            agent_version=release.VERSION,
            core_version=", ".join(one.version for one in states if one.version) or None,
            core_running=all(one.running and one.problem is None for one in states),
            limitations=[
                *(limit for core in node.cores for limit in core.driver.limitations),
                *node.problems.values(),
            ],
            incidents=node.ledger.incidents(),
        )


def octets() -> Octets:
    """What passed the interfaces so far, without the loopback."""
    received = sent = 0
    for name, counters in psutil.net_io_counters(pernic=True).items():
        if name != "lo":
            received += counters.bytes_recv
            sent += counters.bytes_sent
    return Octets(at_s=time.monotonic(), received=received, sent=sent)


def bandwidth(before: Octets, after: Octets) -> tuple[int, int]:
    """Bits per second received and sent; an interface that vanished meanwhile does not make it negative."""
    elapsed_s = max(after.at_s - before.at_s, 0.001)
    received = max(0, after.received - before.received)
    sent = max(0, after.sent - before.sent)
    return int(8 * received / elapsed_s), int(8 * sent / elapsed_s)
