"""One agent per state directory: an exclusive flock, held as long as the process lives.

What always holds: the kernel frees it with the process, however it ends, so there is no stale lock to remove.
A core that outlived its agent watches the same file to know whether a new one has come.
"""

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

#: A watching core may hold the lock for the blink in which it looks at it.
_PATIENCE_S = 1.0
_LOOK_S = 0.02


class OccupiedError(Exception):
    """Another agent lives on this state directory."""


@contextlib.contextmanager
def held(path: Path, patience_s: float = _PATIENCE_S) -> Iterator[None]:
    """Hold the lock. Raises OccupiedError, or OSError when the file cannot be made."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline_s = time.monotonic() + patience_s
        while not _locked(descriptor):
            if time.monotonic() > deadline_s:
                raise OccupiedError(f"another agent runs on {path.parent}: stop it first")
            threading.Event().wait(_LOOK_S)
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
