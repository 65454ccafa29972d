"""The collector under load: its real process on a core of its own, and what it takes of the machine.

What always holds: it is the product as it is delivered, durable on a real disk, with tokens, over HTTP as
behind a proxy or over its own TLS; only its clock can be put ahead. CPU is that of all its threads, by the
kernel's clock of the process; memory is what is resident.
"""

import contextlib
import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from tests.bench.load import seeding
from tests.bench.load.clock import Clock
from tests.bench.load.shape import Shape
from tests.bench.load.talk import Talk
from tests.kit import lab, programs, waiting

HOST = "127.0.0.1"
#: The collector has this one for itself where nothing else is said, the load all others.
CORE = 0
HOUR_MS = 3_600_000

_START_S = 120.0
_PREFIX = "TIDEGATE_COLLECTOR_"
_PEAK = re.compile(r"VmHWM:\s+(\d+) kB")


@dataclass(kw_only=True)
class Collector:
    """A collector that serves. `url` says how it is reached, `ca` whom to trust, None for plain HTTP."""

    program: programs.Program
    clock: Clock
    port: int
    ca: Path | None
    #: The admin's, from before the clock is put ahead: good for an hour by the host's.
    token: str = ""
    data: Path

    def talk(self) -> Talk:
        """A connection to it, opened at the first call."""
        return Talk(HOST, self.port, self.ca)

    def cpu_s(self) -> float:
        """Seconds of CPU that all its threads have used, in user and in kernel mode."""
        # clock_getcpuclockid(3) for a process that is not ours, which Python does not offer.
        return time.clock_gettime((~self.program.pid << 3) | 2)

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
def opened(shape: Shape, *, tls: bool = False, cores: Sequence[int] = (CORE,)) -> Iterator[Collector]:
    """A collector with this fleet, in a directory of its own below TMPDIR, which should be on a disk."""
    place = lab.Place("loopback", HOST)
    with (
        tempfile.TemporaryDirectory(prefix="tidegate-load-") as name,
        programs.opened(Path(name)) as running,
    ):
        directory = Path(name)
        data, port = directory / "data", place.free_port()
        env = _environment(data, port, tls=tls)
        first = _initialised(place, env)
        seeding.fill(data, shape, time.time_ns() // 1_000_000)
        clock = directory / "clock"
        command = programs.python("tests.bench.load.served", str(clock), ",".join(map(str, cores)))
        made = Collector(
            clock=Clock(clock),
            program=running.start("collector", command, place=place, env=env),
            port=port,
            ca=data / "ca.pem" if tls else None,
            data=data,
        )
        try:
            _await_answer(made)
            with contextlib.closing(made.talk()) as talk:
                made.token = talk.log_in({name: first[name] for name in ("username", "password")})
            yield made
        except BaseException as error:
            error.add_note(running.tails())
            raise


def _environment(data: Path, port: int, *, tls: bool) -> Mapping[str, str]:
    common = {"DATA_DIR": str(data), "LISTEN": f"{HOST}:{port}", "NAMES": HOST, "LOG_LEVEL": "info"}
    plain = {"BEHIND_PROXY": "yes", "URL": "https://collector.invalid"}
    return {_PREFIX + name: value for name, value in (common | ({} if tls else plain)).items()}


def _initialised(place: lab.Place, env: Mapping[str, str]) -> dict[str, Any]:
    done = programs.run(programs.python("collector.cli", "init", "--json"), place=place, env=env)
    if done.status:
        raise RuntimeError(f"tidegate-collector init ended with {done.status}: {done.err}")
    return dict(msgspec.json.decode(done.out))


def _await_answer(made: Collector) -> None:
    def answers() -> bool:
        if not made.program.running:
            raise RuntimeError("the collector has ended")
        with contextlib.closing(made.talk()) as talk:
            return talk.answers()

    waiting.until(answers, within_s=_START_S, what="the collector to answer")
