"""One node of a world of faults: the real ledger, boot, booking and reporting; only core and wire are models.

What always holds: a kill leaves the state directory's files as they lie there, without an orderly close; the
core lives on. What the ledger says is compared with what the truth says its directory knows.
"""

import asyncio
import contextlib
import itertools
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from agent import ledger
from agent.core.counting import Count, Meter, Reading
from agent.core.periods import Pace
from agent.drivers.base import DriverError
from agent.drivers.memory import MemoryDriver
from agent.link import Link
from agent.loops import cores, serving
from agent.loops.node import Core as Program
from agent.loops.node import Node
from agent.loops.report import ReportLoop
from shared.messages import Report, ReportAnswer
from shared.names import LedgerId, NodeId, UserId
from tests.system import lent, truth

#: SQLite makes this file anew after a kill; a copy of it would be of another process.
_SHARED_MEMORY = "-shm"


class Core(MemoryDriver):
    """A core whose counters a world moves and may look at."""

    @property
    def generation(self) -> str | None:
        return self._generation

    def counters(self) -> dict[Meter, Count]:
        """What the process shows now."""
        return dict(self._counts)

    def carry(self, meter: Meter, up: int, down: int) -> bool:
        """Move bytes of a user; False when there is no core."""
        if self._generation is None:
            return False
        self.connections[meter] = 1
        return self.traffic(meter, up, down)


class Wire:
    """Stands for the agent's link: hands a report on, and fails as the world wants."""

    def __init__(self, post: Callable[[Report], ReportAnswer]) -> None:
        self._post = post

    async def report(self, report: Report) -> ReportAnswer:
        """Send totals; raises LinkError when no answer comes."""
        return self._post(report)


@dataclass(frozen=True)
class Copy:
    """A state directory as it was, and what it knew."""

    directory: Path
    ledger: LedgerId
    memory: truth.Memory


@dataclass
class Site:
    """A node: its core, its state directory, its agent."""

    node: NodeId
    meters: tuple[Meter, ...]
    folder: Path
    runner: asyncio.Runner
    witness: truth.Truth
    post: Callable[[NodeId, Report], ReportAnswer]
    clock: Callable[[], int]
    limited: tuple[UserId, ...]
    #: Most rows of one report.
    rows: int = 2
    core: Core = field(default_factory=Core)
    memory: truth.Memory = field(default_factory=dict)
    copies: list[Copy] = field(default_factory=list)
    #: Whether an older copy of its state directory came back.
    went_back: bool = False
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self._prefix = f"node-{self.node}"
        self._directory = self._fresh()
        self.boot()

    @property
    def ledger(self) -> LedgerId:
        """The ledger in use."""
        return self._book.id

    def boot(self) -> None:
        """Start an agent on what is in the state directory, as its main program does."""
        self._book = ledger.open_ledger(self._directory / ledger.FILE_NAME)
        self._book.begin_epoch()
        self.agent = Node(
            cores=[Program(self.core)],
            ledger=self._book,
            link=cast("Link", Wire(lambda report: self.post(self.node, report))),
            pace=Pace(),
            holding=self._book.held,
            clock=self.clock,
        )
        lent.expect(self.agent, self.limited)
        self.reports = ReportLoop(self.agent, rows=self.rows)
        with contextlib.suppress(DriverError):
            # A core that does not start is the healing loop's: see `mend`.
            self.runner.run(serving.boot(self.agent))
        self.compare()

    def book(self) -> None:
        """Read the core and keep what it shows; a core that is gone is started again."""
        generation, counts = self.core.generation, self.core.counters()
        if generation is None:
            self.mend()
            return
        self.runner.run(self.agent.book(self.agent.cores[0]))
        self._booked(generation, counts)

    def book_late(self) -> None:
        """Read a core, let it die, book its successor's counters, and only then try to book the reading."""
        if self.core.generation is None:
            return
        self.book()
        self.core.carry(self.meters[0], 1, 1)
        late = Reading(self.core.generation, self.core.counters())
        self.core.crash()
        self.mend()
        self.core.carry(self.meters[0], 1, 1)
        self.book()
        try:
            self._book.book(late, self.clock())
        except ledger.LedgerError:
            self.compare()
            return
        raise AssertionError("a reading of a core that had been replaced was booked")

    def mend(self) -> None:
        """Start a core that died, as the healing loop does."""
        self.runner.run(cores.start(self.agent, self.agent.cores[0]))

    def restart_core(self) -> None:
        """A restart of the agent's own making: cut, read and book, stop, start."""
        self._read_last()
        self.mend()

    def report(self) -> None:
        """One report, where there is something to tell. Raises LinkProblem when no answer comes."""
        if self.agent.unreported or self._book.marked or self.agent.loans.learning or self.agent.loans.due:
            self.runner.run(self.reports.once())

    def flush(self) -> None:
        """Tell everything that is not confirmed."""
        self.runner.run(self.reports.flush())

    def die(self) -> None:
        """SIGKILL: the files stay as they lie there, the core goes on, nobody says a word."""
        left = self._copied(self._directory)
        self._end()
        self._directory = left

    def stop(self) -> None:
        """An orderly stop: a last reading, the core ended, the ledger closed."""
        self._read_last()
        self.runner.run(self.core.stop())
        self._book.close()

    def lose_disk(self) -> None:
        """The state directory is gone; the core, which lives in memory, is not."""
        self._end()
        self.went_back = False
        self._directory = self._fresh()
        self.memory = {}

    def back_up(self) -> None:
        """Copy the state directory."""
        self.copies.append(Copy(self._copied(self._directory), self.ledger, dict(self.memory)))

    def restore(self, copy: Copy) -> None:
        """Put an older copy in the place of the state directory; the agent is not running meanwhile."""
        self._end()
        self.went_back = True
        self._directory = self._copied(copy.directory)
        self.memory = dict(copy.memory)

    def adoption_fails(self) -> None:
        """Let the core not answer the next agent: it is ended then, with what was not read."""
        self.core.fail("adopt", DriverError("the core did not answer within 10 s"))

    def start_fails(self) -> None:
        """Let the core not start: neither with everything wanted nor with what ran before."""
        self.core.fail("start", *[DriverError("the port is taken")] * 2)

    def reading_fails(self) -> None:
        """Let the core not answer one reading."""
        if self.core.generation is None:
            return
        self.core.fail("read", DriverError("the core did not answer within 10 s"))
        try:
            self.runner.run(self.agent.book(self.agent.cores[0]))
        except DriverError:
            self.compare()
            return
        raise AssertionError("a reading that failed was not noticed")

    def close(self) -> None:
        """Let go of everything."""
        self._book.close()

    def compare(self) -> None:
        """The ledger holds exactly what its directory knows."""
        kept = {meter: standing.total for meter, standing in self._book.standings.items()}
        expected = truth.totals(self.memory)
        assert kept == expected, f"node {self.node}: the ledger holds {kept}, readings showed {expected}"

    def _read_last(self) -> None:
        generation, counts = self.core.generation, self.core.counters()
        assert self.runner.run(cores.last_reading(self.agent, self.agent.cores[0]))
        if generation is not None:
            self._booked(generation, counts)

    def _booked(self, generation: str, counts: dict[Meter, Count]) -> None:
        truth.learn(self.memory, generation, counts)
        self.witness.booked(self.ledger, generation, counts)
        self.compare()

    def _end(self) -> None:
        self._book.close()
        shutil.rmtree(self._directory)

    def _fresh(self) -> Path:
        directory = self.folder / f"{self._prefix}-{next(self.numbers)}"
        directory.mkdir()
        return directory

    def _copied(self, directory: Path) -> Path:
        return copied(directory, self._fresh())


def copied(directory: Path, to: Path) -> Path:
    """Copy the files of a database as they lie there, a write-ahead log included."""
    for file in directory.iterdir():
        if file.is_file() and not file.name.endswith(_SHARED_MEMORY):
            shutil.copyfile(file, to / file.name)
    return to
