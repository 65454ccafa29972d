"""Real SIGKILLs of real processes under real traffic: seeded storms of them, and what they cost.

What always holds: clients pull bytes all the time, one download after the other. A kill comes at a random
moment, also while what it hits is still starting; what was killed is started again at once. Bytes are counted
by the receiving clients, and by Xray through a witness that shares no code with the agent.
"""

import contextlib
import random
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from agent import ledger_blocks
from tests.kit import clients, fleet, programs, servers, waiting

#: Bytes a second of one user.
RATE = 4_000_000
#: Seconds a reading may be old when its core is killed: the agent's poll, and machines that are slow to turn.
READING_S = 0.25 + 1.0
_SIZE_BYTES = 3 * RATE
_FAR_BYTES = 10**12
#: Seconds between kills, at most: some hit what has hardly started, some what has worked for a while.
_PAUSES_S = (0.5, 1.5, 3.0)
_RECOVERY_S = 40.0
_VICTIMS = (("agent",), ("collector",), ("agent", "collector"), ("collector", "agent"))


@dataclass(frozen=True, kw_only=True)
class Bill:
    """One user's bytes, both ways; `possible` adds requests without an answer, which Xray may have seen."""

    billed: int
    delivered: int
    possible: int
    counted: int


@dataclass(frozen=True, kw_only=True)
class Storm:
    """Kills by process, downloads by how they ended, a bill for each user, cores that served."""

    kills: Counter[str]
    downloads: Counter[str]
    bills: Sequence[Bill]
    same_core: bool
    took_s: float

    @property
    def lost(self) -> int:
        """Bytes that the clients had and nobody pays."""
        return sum(max(0, bill.delivered - bill.billed) for bill in self.bills)

    @property
    def doubled(self) -> int:
        """Bytes that somebody pays and no client had."""
        return sum(max(0, bill.billed - bill.possible) for bill in self.bills)


@dataclass(frozen=True, kw_only=True)
class Unread:
    """A kill of the core: bytes that had passed and were in no ledger, and the seconds since a reading."""

    passed_bytes: int
    since_reading_s: float


@dataclass
class Play:
    """A fleet under traffic, and what was killed."""

    everything: fleet.Fleet
    users: Sequence[fleet.User]
    core: int
    kills: Counter[str] = field(default_factory=Counter)
    pulled: list[clients.Download] = field(default_factory=list)
    pulling: dict[int, clients.Download] = field(default_factory=dict)
    #: Bytes that earlier cores took with them.
    lost_before: int = 0
    began_s: float = field(default_factory=time.monotonic)

    def pull_for(self, seconds: float) -> None:
        """Let bytes flow until the next kill: its moment was drawn, there is nothing to wait for."""
        tick, until_s = threading.Event(), time.monotonic() + seconds
        while (left_s := until_s - time.monotonic()) > 0:
            for user in self.users:
                now = self.pulling.get(user.id)
                if now is None or not now.program.running:
                    now = self.everything.download(user, _SIZE_BYTES, rate=RATE)
                    self.pulling[user.id] = now
                    self.pulled.append(now)
            tick.wait(min(left_s, 0.05))

    def kill(self, names: Sequence[str], order: random.Random) -> None:
        """Kill agent, collector or both, and start them again in any order."""
        processes: dict[str, servers.Agent | servers.Collector] = {
            "agent": self.everything.agent,
            "collector": self.everything.collector,
        }
        for name in names:
            processes[name].kill()
            self.kills[name] += 1
        for name in order.sample(names, len(names)):
            processes[name].start()

    def kill_core(self, *, agent_dead_s: float | None = None) -> Unread:
        """Kill the core, perhaps with its agent dead for so many seconds; returns when another one serves."""
        if agent_dead_s is not None:
            self.everything.agent.kill()
            self.kills["agent"] += 1
            self.pull_for(agent_dead_s)
        booked = self._booked()
        programs.kill(self.core)
        self.kills["core"] += 1
        unread = self._delivered() - booked - self.lost_before
        if agent_dead_s is not None:
            self.everything.agent.start()
        self.core = core_of(self.everything, but=self.core)
        self.lost_before = self._delivered() - self._booked()
        for user in self.users:
            self.everything.served(user, within_s=_RECOVERY_S)
        return Unread(passed_bytes=unread, since_reading_s=READING_S + (agent_dead_s or 0.0))

    def storm(self) -> Storm:
        """Let what runs end, and everything be billed; a bill that stays wrong is for the caller to judge."""
        downloads = Counter(str(download.result().how) for download in self.pulled)
        self.everything.collector_answers()
        due = self._delivered() - self.lost_before
        with contextlib.suppress(TimeoutError):
            waiting.until(lambda: self._billed() >= due, within_s=_RECOVERY_S, what="the bills")
        return Storm(
            kills=self.kills,
            downloads=downloads,
            bills=[self._bill(user) for user in self.users],
            same_core=core_of(self.everything) == self.core,
            took_s=time.monotonic() - self.began_s,
        )

    def _bill(self, user: fleet.User) -> Bill:
        return Bill(
            billed=self.everything.billed(user),
            delivered=self.everything.delivered(user),
            possible=sum(download.result().total for download in self.everything.downloads[user.id]),
            counted=self.everything.counted(user),
        )

    def _billed(self) -> int:
        return sum(self.everything.billed(user) for user in self.users)

    def _delivered(self) -> int:
        """Bytes that clients had, once what runs has ended."""
        return sum(self.everything.delivered(user) for user in self.users)

    def _booked(self) -> int:
        """Bytes in the agent's ledger, which outlives it."""
        path = self.everything.agent.directory / "state" / "ledger.db"
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as book:
            _, up, down = ledger_blocks.sums(book)
            return up + down


def core_of(everything: fleet.Fleet, *, but: int | None = None) -> int:
    """The pid of the core that serves, once there is another one than `but`."""

    def found() -> int | None:
        pid = everything.agent.core_pid()
        return pid if pid is not None and pid != but and programs.is_alive(pid) else None

    return waiting.until(found, within_s=_RECOVERY_S, what="a core")


def begin(everything: fleet.Fleet, *, limited: bool = False) -> Play:
    """Two users whose clients work; a limit that is far away makes nodes serve them under leases."""
    quota_bytes = _FAR_BYTES if limited else None
    users = [everything.add_user(name, quota_bytes=quota_bytes) for name in ("alice", "bob")]
    for user in users:
        everything.served(user)
        # With the answer to his first report a limited user has a lease that lasts.
        everything.settled(user, 1)
    return Play(everything, users, core_of(everything))


def sparing_the_core(
    everything: fleet.Fleet,
    *,
    seed: int,
    kills: int,
    limited: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> Storm:
    """Kill agent, collector or both, over and over; the core lives through it all."""
    play, chance = begin(everything, limited=limited), random.Random(seed)
    while play.kills.total() < kills:
        play.pull_for(chance.uniform(0.0, chance.choice(_PAUSES_S)))
        play.kill(chance.choice(_VICTIMS), chance)
        progress(play.kills.total())
    return play.storm()


def with_the_core(everything: fleet.Fleet, *, seed: int, rounds: int) -> tuple[Storm, list[Unread]]:
    """Kill the core, every other time with its agent dead already, and collector or agent in between."""
    play, chance = begin(everything), random.Random(seed)
    unread = []
    for number in range(rounds):
        play.pull_for(chance.uniform(*_PAUSES_S[:2]))
        unread.append(play.kill_core(agent_dead_s=chance.uniform(0.1, 0.5) if number % 2 else None))
        play.kill(("collector",), chance)
    return play.storm(), unread
