"""Where a running Python process spends its CPU, sampled from outside by py-spy.

A profiler inside the process would charge small functions for being watched, and cannot see who holds the
interpreter's lock; py-spy reads the stacks of all threads from the process's memory. It needs leave to trace:
the same user, or root. The process is not stopped for it, and only threads that run are counted.
"""

import contextlib
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

_RATE_HZ = 250
_END_S = 30.0
#: `function (path/file.py:12)`, one of a stack from the outermost to the innermost.
_FRAME = re.compile(r"(?P<function>.+) \((?P<file>.+?)(:\d+)?\)")

Stacks = Mapping[tuple[str, ...], int]


class SamplingError(Exception):
    """The process could not be watched; the text says what to do."""


@contextlib.contextmanager
def watching(pid: int, file: Path) -> Iterator[Callable[[], Stacks]]:
    """Sample a process; what the block is given ends it and returns how often each stack was met."""
    command = [_program(), "record", "--pid", str(pid), "--rate", str(_RATE_HZ)]
    with subprocess.Popen(
        [
            *(*command, "--nonblocking", "--full-filenames", "--duration", "unlimited"),
            *("--format", "raw", "--output", str(file)),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:

        def told() -> Stacks:
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=_END_S)
            if not file.exists():
                raise SamplingError(f"py-spy could not watch the process: {said.strip()[-500:]}")
            return _stacks(file.read_text())

        try:
            yield told
        finally:
            if process.poll() is None:
                process.kill()


def by_area(stacks: Stacks, areas: Mapping[str, str]) -> Counter[str]:
    """Samples by area: that of the innermost frame whose path holds one of these parts; the others are ''."""
    found: Counter[str] = Counter()
    for stack, count in stacks.items():
        paths = [_file(frame) for frame in reversed(stack)]
        found[next((area for path in paths for part, area in areas.items() if part in path), "")] += count
    return found


def by_function(stacks: Stacks) -> tuple[Counter[str], Counter[str]]:
    """Samples by function: those in itself, and those in it or in what it called."""
    own: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    for stack, count in stacks.items():
        names = [_name(frame) for frame in stack]
        own[names[-1]] += count
        whole.update(dict.fromkeys(names, count))
    return own, whole


def _program() -> str:
    beside = shutil.which("py-spy", path=str(Path(sys.executable).parent))
    if found := beside or shutil.which("py-spy"):
        return found
    raise SamplingError("py-spy is needed to see where time goes: pip install py-spy")


def _stacks(raw: str) -> Stacks:
    found: Counter[tuple[str, ...]] = Counter()
    for line in raw.splitlines():
        stack, _, count = line.rpartition(" ")
        found[tuple(stack.split(";"))] += int(count)
    return found


def _file(frame: str) -> str:
    parsed = _FRAME.fullmatch(frame)
    return parsed["file"] if parsed else ""


def _name(frame: str) -> str:
    parsed = _FRAME.fullmatch(frame)
    if parsed is None:
        return frame
    return f"{parsed['function']} ({'/'.join(Path(parsed['file']).parts[-3:])})"
