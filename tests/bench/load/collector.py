"""The collector under load: its real process on a core of its own, and what it takes of the machine.

What always holds: it is the product as it is delivered, durable on a real disk, with tokens, over HTTP as
behind a proxy or over its own TLS; only its clock can be put ahead. CPU is that of all its threads, by the
kernel's clock of the process, and of its database server; memory is what is resident of the collector.
"""

import contextlib
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import psutil

from tests.bench.asked import Engine
from tests.bench.load import seeding
from tests.bench.load.clock import Clock
from tests.bench.load.shape import Shape
from tests.bench.load.talk import Talk
from tests.kit import lab, postgres, programs, waiting
from tests.kit.stores import PostgresStore, SqliteStore, Store

HOST = "127.0.0.1"
#: The collector has this one for itself where nothing else is said, the load all others.
CORE = 0
HOUR_MS = 3_600_000

_START_S = 120.0
_PREFIX = "TIDEGATE_COLLECTOR_"
_PEAK = re.compile(r"VmHWM:\s+(\d+) kB")


@dataclass(kw_only=True)
class Collector:
    """A collector that serves from a store; `ca` says whom to trust, None for plain HTTP.

    `server` is the database's own process, where it has one. `token` is the admin's, from before the clock is
    put ahead: good for an hour by the host's.
    """

    start: Callable[[], programs.Program]
    program: programs.Program
    store: Store
    server: psutil.Process | None
    clock: Clock
    port: int
    ca: Path | None
    token: str = ""

    def talk(self) -> Talk:
        """A connection to it, opened at the first call."""
        return Talk(HOST, self.port, self.ca)

    def restart(self) -> None:
        """End it in order and start it again on what it left."""
        self.program.stop()
        self.program = self.start()
        self.await_answer()

    def await_answer(self) -> None:
        """Wait until it answers."""

        def answers() -> bool:
            if not self.program.running:
                raise RuntimeError("the collector has ended")
            with contextlib.closing(self.talk()) as talk:
                return talk.answers()

        waiting.until(answers, within_s=_START_S, what="the collector to answer")

    def cpu_s(self) -> float:
        """Seconds of CPU that all its threads have used, in user and kernel mode, and its server."""
        # clock_getcpuclockid(3) for a process that is not ours, which Python does not offer.
        own = time.clock_gettime((~self.program.pid << 3) | 2)
        return own + (_whole_cpu_s(self.server) if self.server else 0.0)

    def peak_mb(self) -> float:
        """The most memory it had since it was last asked to forget, in MiB."""
        found = _PEAK.search(Path("/proc", str(self.program.pid), "status").read_text())
        if found is None:
            raise RuntimeError("the kernel does not say how much memory the collector has")
        return int(found[1]) / 1024

    def allow(self, cores: Sequence[int]) -> None:
        """Let all its threads run on these cores from now on."""
        for thread in Path("/proc", str(self.program.pid), "task").iterdir():
            os.sched_setaffinity(int(thread.name), cores)

    def forget_peak(self) -> None:
        """Count the peak of memory from now on (proc(5), clear_refs)."""
        Path("/proc", str(self.program.pid), "clear_refs").write_text("5")


@contextlib.contextmanager
def opened(
    shape: Shape, *, engine: Engine = "sqlite", tls: bool = False, cores: Sequence[int] = (CORE,)
) -> Iterator[Collector]:
    """A collector with this fleet, in a directory of its own below TMPDIR, which should be on a disk."""
    place = lab.Place("loopback", HOST)
    with (
        tempfile.TemporaryDirectory(prefix="tidegate-load-") as name,
        programs.opened(Path(name)) as running,
        _store(engine, Path(name) / "data", cores) as (store, url, server),
    ):
        data, clock, port = Path(name) / "data", Path(name) / "clock", place.free_port()
        env = _environment(data, port, tls=tls) | url
        first = _initialised(place, env)
        seeding.fill(store, shape, time.time_ns() // 1_000_000)
        seeding.note(store, time.time_ns() // 1_000_000)
        command = programs.python("tests.bench.load.served", str(clock), ",".join(map(str, cores)))
        ahead = Clock(clock)

        def start() -> programs.Program:
            return running.start("collector", command, place=place, env=env)

        ca = data / "ca.pem" if tls else None
        made = Collector(
            start=start, program=start(), store=store, server=server, clock=ahead, port=port, ca=ca
        )
        try:
            made.await_answer()
            with contextlib.closing(made.talk()) as talk:
                made.token = talk.log_in({name: first[name] for name in ("username", "password")})
            yield made
        except BaseException as error:
            error.add_note(running.tails())
            raise


@contextlib.contextmanager
def _store(
    engine: Engine, directory: Path, cores: Sequence[int]
) -> Iterator[tuple[Store, dict[str, str], psutil.Process | None]]:
    """Where the data is, the setting that says so, and the process of its server."""
    if engine == "sqlite":
        yield SqliteStore(directory), {}, None
        return
    with postgres.cluster(durable=True) as cluster:
        if cluster.process is None:
            raise RuntimeError("PostgreSQL has ended")
        server = psutil.Process(cluster.process.pid)
        # Those who answer connections are its children, and are made where it runs.
        server.cpu_affinity(list(cores))
        name = cluster.make()
        yield PostgresStore(cluster, name), {f"{_PREFIX}DATABASE_URL": cluster.url(name)}, server


def _whole_cpu_s(process: psutil.Process) -> float:
    """CPU of a process, of its children, and of those that have ended."""
    own = process.cpu_times()
    ended = own.children_user + own.children_system
    alive = [child.cpu_times() for child in process.children(recursive=True)]
    return float(own.user + own.system + ended + sum(one.user + one.system for one in alive))


def _environment(data: Path, port: int, *, tls: bool) -> dict[str, str]:
    common = {"DATA_DIR": str(data), "LISTEN": f"{HOST}:{port}", "NAMES": HOST, "LOG_LEVEL": "info"}
    plain = {"BEHIND_PROXY": "yes", "URL": "https://collector.invalid"}
    return {_PREFIX + name: value for name, value in (common | ({} if tls else plain)).items()}


def _initialised(place: lab.Place, env: dict[str, str]) -> dict[str, Any]:
    done = programs.run(programs.python("collector.cli", "init", "--json"), place=place, env=env)
    if done.status:
        raise RuntimeError(f"tidegate-collector init ended with {done.status}: {done.err}")
    return dict(msgspec.json.decode(done.out))
