"""Tells the collector totals it has not confirmed, and cuts whom its answer stops.

What always holds: one report is in flight at a time, and there is no queue: what changed meanwhile goes into
the next one as a newer total. Until the answer is there, a total counts as not told. After a start, after an
outage and at each full compare everything is told once, since nobody here knows what the collector has seen.
"""

import logging
import time
from itertools import islice

from agent.core.counting import Meter
from agent.loops import pace, serving
from agent.loops.loans import ASK_AGAIN_S, Words, boot_s
from agent.loops.node import Node
from shared import logs
from shared.messages import Report, ReportAnswer, Usage
from shared.names import MAX_REPORT_ROWS, UserId

LOGGER = logging.getLogger(__name__)


class ReportLoop:
    """From the ledger to the collector."""

    def __init__(self, node: Node, *, rows: int = MAX_REPORT_ROWS) -> None:
        self._node = node
        self._rows = rows
        self._sequence = 0
        node.tell_all()

    async def once(self) -> float:
        """One report, when there is something to tell; returns the seconds before the next may go."""
        node = self._node
        words = node.loans.words(time.monotonic())
        if not node.unreported and not words.any:
            await pace.nudged(node.grew, pace.jittered(min(node.pace.report_s, ASK_AGAIN_S)))
            return 0.0
        try:
            told, stopped, generation, freed = await self._send(words)
            if stopped:
                await serving.enforce(node, stopped, generation)
            if freed:
                await serving.settle(node)
        finally:
            node.in_flight = {}
        return 0.0 if told == self._rows else node.pace.report_min_s

    async def flush(self) -> None:
        """Tell everything that is left, when the node stops serving anyway."""
        while self._node.unreported:
            await self._send(self._node.loans.words(time.monotonic()))

    async def run(self) -> None:
        """Report for ever."""
        await pace.forever(self._node, "report", self.once)

    async def _send(self, words: Words) -> tuple[int, frozenset[UserId], int, bool]:
        node = self._node
        told = dict(islice(node.unreported.items(), self._rows))
        # Keys stay out of `unreported` only while the answer is awaited; new growth enters anew.
        for meter in told:
            del node.unreported[meter]
        node.in_flight = told
        generation = node.holding.generation
        self._sequence += 1
        report = Report(
            ledger=node.ledger.id,
            rows=[self._row(meter) for meter in told],
            epoch=node.ledger.epoch,
            sequence=self._sequence,
            returned=list(words.returned),
            unleased=list(words.unleased),
        )
        sent_boot_s = boot_s()
        try:
            answer = await node.link.report(report)
        except BaseException:
            node.unreported = told | {m: s for m, s in node.unreported.items() if m not in told}
            raise
        _log_quarantined(report, answer)
        node.ledger.answered(sent_boot_s)
        if answer.epoch_seen > node.ledger.epoch:
            self._restored(answer.epoch_seen)
        freed = node.loans.answered(words, answer.leases, time.monotonic())
        return len(told), frozenset(answer.stopped), generation, freed

    def _restored(self, epoch_seen: int) -> None:
        node = self._node
        node.ledger.begin_epoch(after=epoch_seen)
        node.incident(
            "state_restored",
            "this node's state was restored from a backup: it is older than what it has reported. Nothing is"
            " billed twice; bytes of a core that ended since may stay unbilled, up to what was billed before",
        )

    def _row(self, meter: Meter) -> Usage:
        total = self._node.ledger.total(meter)
        return Usage(user=meter.user, endpoint=meter.endpoint, up=total.up, down=total.down)


def _log_quarantined(report: Report, answer: ReportAnswer) -> None:
    # A quarantined row is the collector's to show; a few here are enough to find it.
    for bad in answer.quarantined[:10]:
        row = report.rows[bad.row] if 0 <= bad.row < len(report.rows) else None
        about = {} if row is None else {"user": row.user, "endpoint": row.endpoint}
        logs.event(LOGGER, logging.WARNING, "row_quarantined", reason=bad.reason, **about)
