"""Processes by pid and start time, and whether an agent lives.

What always holds: a pid that was given out again is never taken for the process that had it. Standard library
only, and little of it: the hosts and guards that outlive an agent carry it.
"""

import fcntl
import os
from pathlib import Path


def start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since boot (proc(5), field 22 of stat); None when it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    fields = stat.rpartition(b")")[2].split()
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def generation(pid: int, started: int) -> str:
    """A name that no other process ever has, not even after a reboot."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")[:8]
    return f"{boot}-{pid}-{started}"


def hold(pid: int, started: int) -> tuple[int, int | None] | None:
    """A pidfd of exactly this process and a descriptor of what it writes; None when it is gone."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return None
    if start_time(pid) != started:  # asked after the pidfd is held, so it cannot change any more
        os.close(pidfd)
        return None
    try:
        return pidfd, os.open(f"/proc/{pid}/fd/1", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return pidfd, None


def agent_lives(lock_file: str) -> bool:
    """Whether some process holds the agent's lock; also when that cannot be told."""
    try:
        descriptor = os.open(lock_file, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
