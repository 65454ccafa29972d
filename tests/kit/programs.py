"""Programs a test starts: each with its log in a file, each ended by its pid.

What always holds: a program dies with the process that started it (setpriv's parent-death signal), is
ended when its `Programs` closes, and is waited for, so that none is orphaned and none stays a zombie.
The one exception is meant: the core that an agent starts outlives the agent; `end` takes its pid.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.kit import lab, waiting

ROOT = Path(__file__).resolve().parents[2]

#: An agent may take eleven seconds to book, stop its core and report.
_END_S = 15.0
_TAIL_LINES = 15


def python(module: str, *arguments: str) -> list[str]:
    """Command line that runs a module of this tree with this interpreter."""
    return [sys.executable, "-m", module, *arguments]


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment without our settings and without proxies, plus `extra`."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("TIDEGATE_") and not name.lower().endswith("_proxy")
    }
    return kept | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"} | dict(extra or {})


@dataclass
class Program:
    """One running program; `out` and `log` are its standard output and error."""

    name: str
    process: subprocess.Popen[bytes]
    out: Path
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        """End it as a power cut would: SIGKILL, nothing is said to it."""
        self.process.kill()
        self.process.wait(_END_S)

    def stop(self) -> int:
        """Ask it to end, insist after a while; returns its exit status."""
        if self.running:
            self.process.terminate()
        try:
            return self.process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self.kill()
            return self.process.returncode

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """The JSON lines of its log, all or those of one event, oldest first."""
        lines = records(self.log)
        return [line for line in lines if name is None or line.get("event") == name]

    def tail(self) -> str:
        """The end of what it said, on standard error first."""
        said = [line for path in (self.log, self.out) for line in _lines(path)[-_TAIL_LINES:]]
        return "\n".join(said)


@dataclass(frozen=True)
class Done:
    """How a short command ended."""

    status: int
    out: str
    err: str


@dataclass
class Programs:
    """Starts programs and ends them all, the youngest first."""

    logs: Path
    started: list[Program] = field(default_factory=list)

    def start(
        self, name: str, command: Sequence[str], *, place: lab.Place, env: Mapping[str, str] | None = None
    ) -> Program:
        """Start a program at a place; its logs go on where an earlier one of that name ended."""
        out, log = self.logs / f"{name}.out", self.logs / f"{name}.log"
        with place.inside(), out.open("ab") as stdout, log.open("ab") as stderr:
            process = subprocess.Popen(
                [*_tether(), *command],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env=clean_environment(env),
                cwd=ROOT,
                # Ctrl-C is for the one who started them: they are ended in order, not all at once.
                start_new_session=True,
            )
        program = Program(name, process, out, log)
        self.started.append(program)
        return program

    def stop_all(self) -> None:
        """End everything that still runs."""
        with lab.undisturbed():
            for program in reversed(self.started):
                program.stop()

    def tails(self) -> str:
        """The end of every log, for a person who wants to know what went wrong.

        Of many that differ only by a number, as downloads do, the last is shown.
        """
        shown = {program.name.rstrip("0123456789"): program for program in self.started}
        return "\n".join(f"--- {program.name} ---\n{program.tail()}" for program in shown.values())


@contextlib.contextmanager
def opened(logs: Path) -> Iterator[Programs]:
    """Programs that end with the block."""
    programs = Programs(logs)
    try:
        yield programs
    finally:
        programs.stop_all()


def run(command: Sequence[str], *, place: lab.Place, env: Mapping[str, str] | None = None) -> Done:
    """Run a short command to its end."""
    with place.inside():
        done = subprocess.run(
            [*_tether(), *command],
            check=False,
            capture_output=True,
            text=True,
            timeout=30,
            env=clean_environment(env),
            cwd=ROOT,
        )
    return Done(done.returncode, done.stdout, done.stderr)


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that ended and is not yet waited for does not."""
    try:
        return _state(Path("/proc", str(pid))) not in {"Z", "X"}
    except OSError:
        return False


def kill(pid: int) -> None:
    """SIGKILL a process that is not our child, and wait until it is gone."""
    os.kill(pid, signal.SIGKILL)
    gone(pid)


def suspend(pid: int) -> None:
    """Stop a process; its threads stop one after the other, so it may answer for a moment yet."""
    os.kill(pid, signal.SIGSTOP)
    tasks = Path("/proc", str(pid), "task")
    waiting.until(
        lambda: all(_state(task) == "T" for task in tasks.iterdir()),
        within_s=5.0,
        what=f"process {pid} to stop",
    )


def gone(pid: int) -> None:
    """Wait until a process is gone."""
    waiting.until(lambda: not is_alive(pid), within_s=_END_S, what=f"process {pid} to be gone")


def end(pid: int) -> None:
    """End a process that is not our child: ask, wait, insist. Success when it is gone already."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        with contextlib.suppress(TimeoutError):
            gone(pid)
            return


def records(path: Path) -> list[dict[str, Any]]:
    """The lines of a file that are JSON objects; others, and one half written, are left out."""
    found = []
    for line in _lines(path):
        with contextlib.suppress(ValueError):
            record = json.loads(line)
            if isinstance(record, dict):
                found.append(record)
    return found


def _lines(path: Path) -> list[str]:
    return path.read_text(errors="replace").splitlines() if path.exists() else []


def _tether() -> list[str]:
    return ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []


def _state(task: Path) -> str:
    """The state of a process or a thread (proc(5), field 3 of stat)."""
    return (task / "stat").read_text().rpartition(")")[2].split()[0]
