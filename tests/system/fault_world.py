"""A world of faults: nodes, a collector and a network, each of which fails in every way that is known.

What always holds, and is checked after every step: a ledger holds what the readings it kept had shown; a bill
is what the collector was told, no more than readings showed, and never falls unless an older copy of the
collector's database was restored.

When everything was told again (`settle`):
- nobody pays twice for a byte, whatever happened;
- without a lost disk and without a restored copy, every byte that a booked reading showed is billed;
- a restored copy of a state directory makes a ledger go back. What the running core still counts, it learns
  anew. What it had known of dead cores and does not know now is forgotten: the bill stays where it was
  and grows again when the ledger's totals have passed what the collector saw. Bytes are billed late, and at
  most what was forgotten is lost;
- a lost disk loses what its ledger had not told; a restored copy of the collector's database loses nothing of
  ledgers that live on, for they tell totals; of a lost ledger it loses what was told since the copy.
"""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agent.core.counting import Meter
from agent.drivers.base import DriverError
from agent.link import LinkError
from shared.messages import Report, ReportAnswer
from shared.names import LedgerId, NodeId
from tests.system import collector_side, lent, node_side, truth
from tests.system.collector_side import Collector, Ground, Killed, Letter
from tests.system.happenings import MOMENTS, Fate, Moment, Settled
from tests.system.node_side import Site

#: Reports in which any node has told what it holds.
_MOST_PARTS = 20


@dataclass
class World:
    """Everything; each method is something that happens."""

    sites: list[Site]
    collector: Collector
    witness: truth.Truth
    fates: list[Fate] = field(default_factory=list)
    sent: list[Letter] = field(default_factory=list)
    heard: set[int] = field(default_factory=set)
    newest: dict[LedgerId, int] = field(default_factory=dict)
    seen: Counter[str] = field(default_factory=Counter)
    collector_went_back: bool = False

    @property
    def meters(self) -> list[Meter]:
        """Every user on every endpoint."""
        return [meter for site in self.sites for meter in site.meters]

    # --- what is ordinary ---

    def traffic(self, meter: Meter, up: int, down: int) -> None:
        """A user moves bytes."""
        site = next(site for site in self.sites if meter in site.meters)
        if site.core.carry(meter, up, down):
            self.seen["traffic"] += 1

    def book(self, site: Site) -> None:
        """A reading is taken and kept."""
        site.book()
        self.seen["booking"] += 1

    def report(self, site: Site, fate: Fate = Fate.ARRIVES) -> None:
        """An agent reports, if it has something to say; what it was not answered it says again later."""
        before = len(self.sent)
        self.fates.append(fate)
        with contextlib.suppress(LinkError):
            site.report()
        self.fates.clear()
        self._check_lent()
        if len(self.sent) > before:
            self.seen[fate.value] += 1

    def gives_back(self, site: Site) -> None:
        """A node is asked for a lease of an idle user."""
        self.seen["lease given back"] += lent.give_back(site.agent, site.limited)
        self._check_lent()

    # --- what the network does ---

    def deliver(self, number: int) -> None:
        """A report arrives that was sent long ago, once more or at last."""
        letter = self.sent[number]
        if number not in self.heard:
            self.seen["report late"] += 1
        elif number < self.newest.get(letter.report.ledger, 0):
            self.seen["report repeated out of order"] += 1
        else:
            self.seen["report repeated"] += 1
        self._hear(number)

    def replay(self, order: random.Random) -> None:
        """Every report that was ever sent arrives again, in any order."""
        self.seen["everything replayed"] += 1
        for number in order.sample(range(len(self.sent)), len(self.sent)):
            self._hear(number)

    # --- what becomes of agents and cores ---

    def agent_dies(self, site: Site, *, meanwhile: int = 0) -> None:
        """SIGKILL; its core goes on and the next agent takes it over."""
        site.die()
        if site.core.generation is not None:
            site.core.carry(site.meters[0], meanwhile, meanwhile)
            self.seen["core adopted"] += 1
        site.boot()
        self.seen["agent killed"] += 1

    def agent_dies_reading(self, site: Site) -> None:
        """SIGKILL between the reading and its commit: what was read is at the core still."""
        with contextlib.suppress(DriverError):
            site.runner.run(site.core.read())
        self.seen["reading not booked"] += 1
        self.agent_dies(site)

    def agent_restarts(self, site: Site) -> None:
        """An orderly stop and a start."""
        site.stop()
        site.boot()
        self.seen["agent restarted"] += 1

    def adoption_fails(self, site: Site) -> None:
        """The next agent cannot talk to the core and replaces it: what was not read was never shown."""
        site.adoption_fails()
        site.die()
        site.boot()
        self.seen["core not adopted"] += 1

    def start_fails(self, site: Site) -> None:
        """An agent is killed with its core, and the core does not start again at once."""
        site.core.crash()
        site.start_fails()
        site.die()
        site.boot()
        assert site.core.generation is None
        self.seen["core did not start"] += 1

    def reading_fails(self, site: Site) -> None:
        """The core does not answer."""
        site.reading_fails()
        self.seen["reading failed"] += 1

    def reading_late(self, site: Site) -> None:
        """A reading of a dead core comes up after one of its successor was booked."""
        site.book_late()
        self.seen["reading of a dead core"] += 1

    def core_dies(self, site: Site) -> None:
        """The core is gone, with what was not read; it stays away until the agent looks."""
        site.core.crash()
        self.seen["core killed"] += 1

    def core_restarts(self, site: Site) -> None:
        """The agent restarts the core."""
        site.restart_core()
        self.seen["core restarted"] += 1

    # --- what becomes of disks ---

    def disk_lost(self, site: Site) -> None:
        """The state directory is gone with what it had not told; a new ledger begins, and a new core."""
        old = site.core.generation
        site.lose_disk()
        site.boot()
        assert old is None or site.core.generation != old, "a new ledger took over another one's core"
        self.seen["agent's disk lost"] += 1

    def agent_backed_up(self, site: Site) -> None:
        """Somebody copies the state directory."""
        site.back_up()

    def agent_restored(self, site: Site, copy: node_side.Copy, *, core_dies: bool = True) -> None:
        """An older copy of the state directory comes back.

        Where a new ledger had begun since, the core that counts for it is dead by then, unless said.
        """
        site.restore(copy)
        if core_dies and copy.ledger != site.ledger:
            site.core.crash()
        self.seen["agent's ledger changed back" if copy.ledger != site.ledger else "agent restored"] += 1
        site.boot()

    def collector_dies(self) -> None:
        """SIGKILL while nothing is written."""
        self.collector.die()
        self.seen["collector killed"] += 1

    def collector_backed_up(self) -> None:
        """Somebody copies the database."""
        self.collector.back_up()

    def collector_restored(self, copy: collector_side.Copy) -> None:
        """An older copy of the database comes back."""
        self.collector.restore(copy)
        self.collector_went_back = True
        self._check_lent()
        self.seen["collector restored"] += 1

    def clock_jumps(self, by_ms: int) -> None:
        """Somebody sets the clock, the nodes' too."""
        self.collector.now_ms = max(1, self.collector.now_ms + by_ms)
        self.seen["clock jumped"] += 1

    def time_passes(self, by_ms: int) -> None:
        """Minutes, or a quarter of an hour."""
        self.collector.now_ms += by_ms

    # --- the end ---

    def settle(self, order: random.Random) -> Settled:
        """Everything heals; every ledger that is in use tells all it knows; then the promises are checked."""
        for site in self.sites:
            site.book()
            site.book()
            if self.collector_went_back:
                # An agent knows what it told, not what was forgotten: after a start it tells everything.
                self.agent_dies(site)
            site.flush()
            self._answer(site)
        self._check_told()
        self._check_lent()
        assert self.collector.held_back() == []
        settled = self._settled()
        if not self.collector_went_back:
            self._replay_changes_nothing(sorted(self.heard), order)
        if self.collector_went_back or len(self.heard) < len(self.sent):
            # What never arrived, or was forgotten with a restored copy, may be billed at last: once.
            self.replay(order)
            self._replay_changes_nothing(range(len(self.sent)), order)
        return settled

    def close(self) -> None:
        """Let go of everything."""
        for site in self.sites:
            site.close()
        self.collector.close()

    def post(self, node: NodeId, report: Report) -> ReportAnswer:
        """The wire: where an agent's report goes."""
        fate = self.fates.pop() if self.fates else Fate.ARRIVES
        self.sent.append(Letter(node, report))
        number = len(self.sent) - 1
        if fate is Fate.LOST:
            raise LinkError("the report was lost")
        try:
            answer = self._hear(number, MOMENTS.get(fate))
        except Killed:
            raise LinkError("the collector died") from None
        if fate is Fate.ANSWER_LOST:
            raise LinkError("the answer was lost")
        return answer

    def _hear(self, number: int, dies: Moment | None = None) -> ReportAnswer:
        letter = self.sent[number]
        before = dict(self.collector.bills)
        if dies != "before the commit":
            self.heard.add(number)
            self.newest[letter.report.ledger] = max(number, self.newest.get(letter.report.ledger, 0))
        try:
            return self.collector.receive(letter, dies=dies)
        finally:
            for user, bill in self.collector.bills.items():
                assert truth.within(before[user], bill), f"the bill of user {user} fell to {bill}"

    def _replay_changes_nothing(self, numbers: Sequence[int], order: random.Random) -> None:
        before = dict(self.collector.bills)
        for number in order.sample(numbers, len(numbers)):
            self._hear(number)
        assert self.collector.bills == before, "replaying what had been heard changed a bill"

    def _answer(self, site: Site) -> None:
        for _ in range(_MOST_PARTS):
            if not self.collector.asks(site.node):
                return
            site.agent.tell_all()
            site.report()
        raise AssertionError(f"node {site.node} is asked what it holds, and does not answer")

    def _check_lent(self) -> None:
        for site in self.sites:
            if not site.went_back:
                self.collector.knows(site.node, site.agent)

    def _check_told(self) -> None:
        for site in self.sites:
            for meter, total in truth.totals(site.memory).items():
                told = self.collector.told.get((site.ledger, meter), truth.NOTHING)
                assert truth.within(total, told), f"{meter} of {site.ledger} was told {told} of {total}"

    def _settled(self) -> Settled:
        alive = {site.ledger: site.memory for site in self.sites}
        shown = billed = lost = doubled = forgotten = 0
        for user, bill in self.collector.bills.items():
            most, gone = self.witness.of_user(user), self.witness.forgotten(user, alive, self.collector.told)
            missing = truth.without(most, bill)
            assert truth.within(missing, gone), f"user {user}: {missing} of {most} lost, {gone} forgotten"
            shown, billed = shown + sum(most), billed + sum(bill)
            lost, forgotten = lost + sum(missing), forgotten + sum(gone)
            doubled += sum(truth.without(bill, most))
        return Settled(shown=shown, billed=billed, lost=lost, doubled=doubled, forgotten=forgotten)


@contextlib.contextmanager
def opened(ground: Ground) -> Iterator[World]:
    """A world on a copy of this ground."""
    with collector_side.directory() as folder, asyncio.Runner() as runner:
        known = truth.Truth()
        world = World([], Collector(ground, known), known)
        try:
            world.sites += [_site(ground, node, folder, runner, world) for node in ground.nodes]
            yield world
        finally:
            world.close()


def _site(ground: Ground, node: NodeId, folder: Path, runner: asyncio.Runner, world: World) -> Site:
    meters = tuple(Meter(user, endpoint) for user in ground.users for endpoint in ground.endpoints[node])
    limited = ground.users[1::2]
    clock = lambda: world.collector.now_ms  # noqa: E731 - one line of a site's making
    return Site(node, meters, folder, runner, world.witness, world.post, clock, limited)
