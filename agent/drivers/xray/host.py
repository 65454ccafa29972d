"""The process that holds Xray, apart from the agent: `python -m agent.drivers.xray.host SPEC <config.json`.

Xray lives here so that it, its counters and the register of connections survive the agent's death, and the
next agent takes them over. With no binary in the spec the wheel's Xray runs in this process's main thread;
otherwise the binary runs as a child that dies with this process.

What always holds: only one host runs for one run directory; client addresses stay in memory; when no agent
has held the lock file for `fence_s` seconds the host cuts everybody off and keeps Xray, to be read by the
next agent, or ends itself, Xray included, where connections cannot be cut. Light imports only: this process
carries them for as long as Xray lives.
"""

import fcntl
import os
import signal
import sys
import threading
from pathlib import Path

from agent.drivers.xray import dialects, runfile, watch

_EXIT_SECOND_HOST = 75
_EXIT_NO_XRAY = 69
_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> int:
    """Run Xray until it ends; returns its exit status."""
    spec = runfile.decode_spec(arguments[0])
    os.umask(0o077)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    run_dir = Path(spec.run_dir)
    if not _only_host(run_dir):
        sys.stderr.write("another host already runs in this run directory\n")
        return _EXIT_SECOND_HOST
    watcher = watch.Watcher(spec)
    runfile.write(run_dir, runfile.this_run(spec))
    thread = threading.Thread(target=watcher.run, name="watch", daemon=True)
    return _binary(spec, watcher, thread) if spec.binary else _wheel(thread)


def _wheel(thread: threading.Thread) -> int:
    with sys.stdin:
        config = sys.stdin.read()
    thread.start()
    try:
        import xray  # noqa: PLC0415 - 40 MB which only this mode needs
    except ImportError as error:
        sys.stderr.write(f"the Python package Xray-core cannot be loaded: {error}\n")
        return _EXIT_NO_XRAY
    xray.startFromJSON(config)
    return 0


def _binary(spec: runfile.Spec, watcher: watch.Watcher, thread: threading.Thread) -> int:
    import ctypes  # noqa: PLC0415 - a megabyte which only this mode needs
    import subprocess  # noqa: PLC0415 - as above

    libc, dialect, binary = ctypes.CDLL(None), dialects.of(spec.core), str(spec.binary)
    # The kernel ties the child's life to the thread that made it: it must be this one, which lives longest.
    try:
        child = subprocess.Popen(
            [binary, *dialect.arguments],
            stdout=None if dialect.telling else subprocess.PIPE,
            preexec_fn=lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL),  # noqa: PLW1509 - no thread yet
        )
    except OSError as error:
        sys.stderr.write(f"{binary} cannot be run: {error.strerror}\n")
        return _EXIT_NO_XRAY
    signal.signal(signal.SIGTERM, lambda _signal, _frame: child.terminate())
    if child.stdout:
        watcher.hear(child.stdout.fileno())
    thread.start()
    status = child.wait()
    if status < 0:
        sys.stderr.write(f"{spec.core} was ended by signal {-status}\n")
    return status if status >= 0 else 128 - status


def _only_host(run_dir: Path) -> bool:
    """Take the lock of the run directory; it is held, its descriptor left open, until the process ends."""
    descriptor = os.open(run_dir / runfile.HOST_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(code)  # at once: nothing here needs an orderly end, and Xray's threads must not outlive it
