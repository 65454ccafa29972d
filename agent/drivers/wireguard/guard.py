"""Takes interfaces down when no agent is left: `python -m agent.drivers.wireguard.guard DIR LOCK SECONDS`.

WireGuard serves on without an agent, and nobody would keep its users' quotas. What always holds: an interface
that was taken down keeps its peers and what they counted, and is marked, so that the next agent lets in only
whom it may; one guard runs for a run directory, and ends with the last interface there. Light imports only:
it runs as long as they do.
"""

import contextlib
import fcntl
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from agent.drivers import pids

REGISTER_SUFFIX = ".wireguard"
MARK_SUFFIX = ".fenced"
_LOCK = "guard.lock"
_CALL_S = 10.0
_RETRY_S = 1.0


def main(run_dir: Path, lock_file: Path, fence_s: float) -> int:
    """Watch until there is nothing to watch."""
    held = _only_guard(run_dir)
    if held is None:
        return 0
    check_s, never = min(_RETRY_S, fence_s / 4), threading.Event()
    seen_s, fenced = time.monotonic(), set[str]()
    while names := list(interfaces(run_dir)):
        if pids.agent_lives(str(lock_file)):
            seen_s = time.monotonic()
            fenced.clear()
        elif time.monotonic() - seen_s >= fence_s:
            # An agent that took one over, and was gone before it was seen, has removed the mark.
            for name in [one for one in names if one not in fenced or not mark(run_dir, one).exists()]:
                _fence(run_dir, lock_file, name)
                fenced.add(name)
        never.wait(check_s)
    os.close(held)
    return 0


def start(run_dir: Path, lock_file: Path, fence_s: float) -> None:
    """Have a guard run; another one that runs already makes this one end at once."""
    root = str(Path(__file__).resolve().parents[3])
    arguments = [str(run_dir), str(lock_file), str(fence_s)]
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "agent.drivers.wireguard.guard", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={"PATH": os.environ.get("PATH", os.defpath), "PYTHONPATH": root},
        start_new_session=True,
    )
    # It outlives us, or ends at once; who waits for it is whoever reaps.
    threading.Thread(target=child.wait, name="guard", daemon=True).start()


def runs(run_dir: Path) -> bool:
    """Whether a guard watches this directory."""
    held = _only_guard(run_dir)
    if held is not None:
        os.close(held)
    return held is None


def mark(run_dir: Path, name: str) -> Path:
    """What says that an interface is being taken down; it is empty until that is done."""
    return run_dir / f"{name}{MARK_SUFFIX}"


def interfaces(run_dir: Path) -> Iterator[str]:
    """The interfaces that are written down there."""
    for path in run_dir.glob(f"*{REGISTER_SUFFIX}"):
        try:
            with path.open("rb") as file:
                yield str(json.loads(file.readline())["name"])
        except (OSError, ValueError, LookupError, TypeError):
            continue


def _fence(run_dir: Path, lock_file: Path, name: str) -> None:
    marked = mark(run_dir, name)
    _note(marked, "")
    _set(name, "down")
    _note(marked, "down\n")
    if pids.agent_lives(str(lock_file)):  # it came meanwhile, and may have taken the interface over already
        marked.unlink(missing_ok=True)
        _set(name, "up")


def _note(marked: Path, text: str) -> None:
    with contextlib.suppress(OSError):  # a disk that is full is no reason to serve on
        marked.write_text(text, encoding="ascii")


def _set(name: str, state: str) -> None:
    command = ["ip", "link", "set", "dev", name, state]
    try:
        subprocess.run(command, check=False, capture_output=True, timeout=_CALL_S)
    except (OSError, subprocess.TimeoutExpired):
        return  # tried again at the next look


def _only_guard(run_dir: Path) -> int | None:
    """Hold the lock of the run directory; None when another guard does."""
    descriptor = os.open(run_dir / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])))
