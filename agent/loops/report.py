"""Tells the collector totals it has not confirmed, and cuts whom its answer stops.

What always holds: one report is in flight at a time, and there is no queue: what changed meanwhile goes into
the next one as a newer total. Until the answer is there, a total counts as not told. After a start, after an
outage and at each full compare everything is told once, since nobody here knows what the collector has seen.
No total is told before every mark of an earlier quarter has been, in the same report or in an answered one;
marks go until a report that told them was answered.
"""

import logging
import time
from dataclasses import dataclass
from itertools import islice

from agent.core import marks
from agent.core.counting import Meter
from agent.loops import pace, serving
from agent.loops.loans import ASK_AGAIN_S, Words, boot_s
from agent.loops.node import Node
from shared import logs
from shared.messages import Past, Report, ReportAnswer, Usage
from shared.names import UserId

LOGGER = logging.getLogger(__name__)

#: Rows of a report: ten thousand at once would take megabytes, and no less of the collector's time.
_ROWS = 2_000


@dataclass(frozen=True, kw_only=True)
class Answered:
    """A report that was answered: whom it stopped, under which state, and whether it freed anybody."""

    report: Report
    stopped: frozenset[UserId]
    generation: int
    freed: bool

    @property
    def size(self) -> int:
        """Rows, past ones and leases that were asked for included."""
        return len(self.report.past) + len(self.report.rows) + len(self.report.held)


class ReportLoop:
    """From the ledger to the collector."""

    def __init__(self, node: Node, *, rows: int = _ROWS) -> None:
        self._node = node
        self._rows = rows
        self._sequence = 0
        node.tell_all()

    async def once(self) -> float:
        """One report, when there is something to tell; returns the seconds before the next may go."""
        node = self._node
        words = self._words()
        if not self._left and not words.any:
            await pace.nudged(node.grew, pace.jittered(min(node.pace.report_s, ASK_AGAIN_S)))
            return 0.0
        try:
            answered = await self._send(words)
            if answered.stopped:
                await serving.enforce(node, answered.stopped, answered.generation)
            if answered.freed:
                await serving.settle(node)
        finally:
            node.in_flight = {}
        # Last, since a disk that refuses it must keep nobody from being cut; told twice they count once.
        node.ledger.confirm(answered.report)
        return 0.0 if answered.size == self._rows else node.pace.report_min_s

    async def flush(self) -> None:
        """Tell everything that is left, when the node stops serving anyway."""
        while self._left:
            answered = await self._send(self._words())
            self._node.ledger.confirm(answered.report)

    async def run(self) -> None:
        """Report for ever."""
        await pace.forever(self._node, "report", self.once)

    @property
    def _left(self) -> bool:
        return bool(self._node.unreported) or self._node.ledger.marked

    def _words(self) -> Words:
        # Half of a report at most is for what the collector asks; the other half is left for totals.
        return self._node.loans.words(time.monotonic(), max(1, self._rows // 2))

    async def _send(self, words: Words) -> Answered:
        node = self._node
        generation = node.holding.generation
        told, report = self._composed(words)
        # Keys stay out of `unreported` only while the answer is awaited; new growth enters anew.
        for meter in told:
            del node.unreported[meter]
        node.in_flight = told
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
        freed = node.loans.answered(words, answer, time.monotonic())
        if answer.learning not in (0, words.learning):
            node.tell_all()
        return Answered(report=report, stopped=frozenset(answer.stopped), generation=generation, freed=freed)

    def _composed(self, words: Words) -> tuple[dict[Meter, float], Report]:
        node = self._node
        rows = self._rows - len(words.held)
        kept = node.ledger.marks(rows)
        told = dict(islice(node.unreported.items(), rows - len(kept)))
        book = node.ledger
        totals = marks.compose(kept, told, book.standings, book.confirmed, book.quarter)
        self._sequence += 1
        report = Report(
            ledger=book.id,
            rows=totals.rows,
            quarter=totals.quarter,
            past=totals.past,
            epoch=book.epoch,
            sequence=self._sequence,
            returned=list(words.returned),
            unleased=list(words.unleased),
            serial=node.ledger.serial,
            learning=words.learning,
            held=list(words.held),
            held_after=words.held_after,
            untold=words.untold,
        )
        return told, report

    def _restored(self, epoch_seen: int) -> None:
        node = self._node
        node.ledger.begin_epoch(after=epoch_seen)
        node.incident(
            "state_restored",
            "this node's state was restored from a backup: it is older than what it has reported. Nothing is"
            " billed twice; bytes of a core that ended since may stay unbilled, up to what was billed before",
        )


def _log_quarantined(report: Report, answer: ReportAnswer) -> None:
    # A quarantined row is the collector's to show; a few here are enough to find it.
    for bad in answer.quarantined[:10]:
        row = _row(report, bad.row)
        about = {} if row is None else {"user": row.user, "endpoint": row.endpoint}
        logs.event(LOGGER, logging.WARNING, "row_quarantined", reason=bad.reason, **about)


def _row(report: Report, place: int) -> Past | Usage | None:
    told: list[Past | Usage] = [*report.past, *report.rows]
    return told[place] if 0 <= place < len(told) else None
