"""Whether the kernel ended something for want of memory, where a process belongs: its cgroup, or the machine.

What always holds: only a rise since the beginning is told, and the count of a cgroup is preferred to that of
the machine, since that rises for others too. A count that cannot be read tells nothing.
Sources: `memory.events` (cgroup-v2), `memory.oom_control` (cgroup-v1 memory), `oom_kill` in /proc/vmstat.
"""

from pathlib import Path
from typing import NamedTuple

_ROOT = Path("/sys/fs/cgroup")
_VMSTAT = Path("/proc/vmstat")
_PROC = Path("/proc")
#: Above this a limit is none: v1 says so with a number near 2**63.
_NO_LIMIT_BYTES = 1 << 60


class _Place(NamedTuple):
    """Where kills are counted, and where the limit is, if there can be one."""

    kills: Path
    limit: Path | None


class Kills:
    """The kills where a process belongs, from now on."""

    def __init__(self, pid: int) -> None:
        self._places = [place for place in _places(pid) if _count(place.kills) is not None][:1]
        self._before = self._total()

    def told(self) -> str | None:
        """That there was one since the beginning, in words; None when there was none."""
        if self._total() <= self._before:
            return None
        limit_bytes = next((_limit_bytes(place.limit) for place in self._places), None)
        whose = "the machine" if limit_bytes is None else f"its cgroup, limited to {limit_bytes >> 20} MiB,"
        return f"the kernel ended a program for want of memory; give {whose} more of it"

    def _total(self) -> int:
        return sum(_count(place.kills) or 0 for place in self._places)


def _places(pid: int) -> list[_Place]:
    found: list[_Place] = []
    for line in _text(_PROC / str(pid) / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            room = _ROOT / "memory" / path.lstrip("/")
            found.insert(0, _Place(room / "memory.oom_control", room / "memory.limit_in_bytes"))
        elif not controllers:
            room = _ROOT / path.lstrip("/")
            found.append(_Place(room / "memory.events", room / "memory.max"))
    return [*found, _Place(_VMSTAT, None)]


def _count(path: Path) -> int | None:
    counts = dict(words for line in _text(path).splitlines() if len(words := line.split()) == 2)  # noqa: PLR2004
    text = counts.get("oom_kill", "")
    return int(text) if text.isdigit() else None


def _limit_bytes(path: Path | None) -> int | None:
    text = _text(path).strip() if path else ""
    return int(text) if text.isdigit() and int(text) < _NO_LIMIT_BYTES else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeError):
        return ""
