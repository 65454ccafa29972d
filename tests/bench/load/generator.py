"""The load generator: every node of a fleet, in one process of its own on the other cores.

What always holds: a node sends absolute totals that grow with every report; what is not confirmed is sent
again, as agents do, until it is; so what the collector must bill at the end is known to the byte.
"""

import asyncio
import contextlib
import gc
import os
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

import msgspec
import uvloop

from shared.names import QUARTER_MS, NodeId
from tests.bench.load import seeding
from tests.bench.load import shape as shapes
from tests.bench.load.clock import Clock
from tests.bench.load.orders import Order, Outcome, Target
from tests.bench.load.talk import Talk
from tests.bench.load.wire import Wire, WireError

#: As agents have it.
_PATIENCE_S = 15.0
_AGAIN_S = 0.2
#: A report that nobody confirms for so long ends the run: the collector does not recover.
_GIVEN_UP_S = 300.0
_EPOCH = 1


class _Answer(msgspec.Struct):
    """What of an answer says whether all rows were billed; leases are not read."""

    accepted: int
    quarantined: list[msgspec.Raw] = []
    stopped: list[int] = []


_ANSWERS = msgspec.json.Decoder(_Answer)


def main(pipe: Connection, target: Target) -> None:
    """Log every node in, then carry out orders until None comes."""
    os.sched_setaffinity(0, target.cores)
    fleet = _Fleet(target)
    gc.freeze()
    gc.disable()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        pipe.send(None)
        while (order := pipe.recv()) is not None:
            try:
                pipe.send(runner.run(fleet.carry_out(order)))
            except ExceptionGroup as group:
                pipe.send(group.exceptions[0])


@dataclass(kw_only=True)
class _Tally:
    """What is counted while an order is carried out."""

    rows: int = 0
    sent_again: int = 0
    begun_late_s: float = 0.0
    answers_ms: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


@dataclass(kw_only=True)
class _Node:
    """One node; `rounds` of its reports were sent, all but perhaps the last one confirmed."""

    id: NodeId
    wire: Wire
    rounds: int = 0
    quarter: int = 0


class _Fleet:
    def __init__(self, target: Target) -> None:
        self._shape = target.shape
        self._clock = Clock(target.clock)
        trust = ssl.create_default_context(cafile=target.ca) if target.ca else None
        with contextlib.closing(Talk(*target.address, target.ca)) as talk:
            self._nodes = [
                _Node(id=node, wire=Wire(target.address, trust, _token(talk, node)))
                for node in map(NodeId, range(1, target.shape.nodes + 1))
            ]

    async def carry_out(self, order: Order) -> Outcome:
        """Send what was ordered."""
        tally, cpu_s, began_s = _Tally(), time.process_time(), time.monotonic()
        turn = asyncio.Semaphore(order.at_once)
        async with asyncio.TaskGroup() as group:
            for place, node in enumerate(self._nodes):
                due = _due(order, began_s, place / len(self._nodes))
                group.create_task(self._play(node, due, turn, tally))
        return Outcome(
            rows=tally.rows,
            took_s=time.monotonic() - began_s,
            answers_ms=tally.answers_ms,
            rounds={node.id: node.rounds for node in self._nodes},
            sent_again=tally.sent_again,
            begun_late_ms=tally.begun_late_s * 1000,
            generator_cpu_s=time.process_time() - cpu_s,
            wrong=tally.wrong,
        )

    async def _play(self, node: _Node, due: Iterator[float], turn: asyncio.Semaphore, tally: _Tally) -> None:
        for due_s in due:
            node.rounds += 1
            body, sent = self._report(node)
            ready_s = max(due_s, time.monotonic())
            await asyncio.sleep(due_s - time.monotonic())
            async with turn:
                # Counted from when it was due, so that a collector that falls behind cannot hide it.
                since_s = due_s or time.monotonic()
                tally.begun_late_s = max(tally.begun_late_s, time.monotonic() - max(ready_s, since_s))
                answer = _ANSWERS.decode(await _confirmed(node.wire, body, tally))
                tally.answers_ms.append((time.monotonic() - since_s) * 1000)
                self._judge(node, sent, answer, tally)

    def _report(self, node: _Node) -> tuple[bytes, int]:
        """The body of the next report, and how many rows it has."""
        before, node.quarter = node.quarter, self._clock.now_ms() // QUARTER_MS
        past = []
        if before and before < node.quarter:
            # As agents do: totals at the end of the quarter, of whoever moved since the report before.
            past = shapes.past(self._shape, node.id, node.rounds, before)
        report = {
            "ledger": f"ledger-{node.id}",
            "rows": shapes.rows(self._shape, node.id, node.rounds),
            "past": past,
            "quarter": node.quarter,
            "epoch": _EPOCH,
            "sequence": node.rounds,
        }
        return msgspec.json.encode(report), len(past) + self._shape.rows

    def _judge(self, node: _Node, sent: int, answer: _Answer, tally: _Tally) -> None:
        tally.rows += self._shape.rows
        if answer.accepted != sent or answer.quarantined or answer.stopped:
            tally.wrong.append(f"node {node.id}, report {node.rounds}: {answer}"[:500])


def _due(order: Order, began_s: float, offset: float) -> Iterator[float]:
    """When a node has to send, 0 for as soon as it may: while there is time, and as often as was ordered."""
    for number in range(order.reports):
        due_s = began_s + (number + offset) * order.period_s if order.period_s else 0.0
        if max(due_s, time.monotonic()) > began_s + order.within_s:
            return
        yield due_s


async def _confirmed(wire: Wire, body: bytes, tally: _Tally) -> bytes:
    """Send until it is answered, as agents do."""
    until_s = time.monotonic() + _GIVEN_UP_S
    while True:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                return await wire.post(body)
        except (WireError, OSError, asyncio.IncompleteReadError) as error:
            if time.monotonic() > until_s:
                raise RuntimeError(f"a report was not confirmed within {_GIVEN_UP_S:g} s: {error}") from error
            tally.sent_again += 1
            await asyncio.sleep(_AGAIN_S)


def _token(talk: Talk, node: NodeId) -> str:
    client_id, secret = seeding.client(node)
    return talk.log_in({"client_id": client_id, "client_secret": secret})
