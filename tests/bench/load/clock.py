"""How far the collector's clock is ahead of the host's: one number in a file that both sides map.

So the collector can be taken across the end of an hour in the middle of a run, without a setting that only a
bench would need.
"""

import mmap
import struct
import time
from pathlib import Path

_AHEAD_MS = struct.Struct("<q")
_HOUR_MS = 3_600_000


class Clock:
    """The clock that is ahead; the file is made where there is none."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            path.write_bytes(bytes(_AHEAD_MS.size))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _AHEAD_MS.size)

    def advance(self, by_ms: int) -> None:
        """Put it further ahead."""
        _AHEAD_MS.pack_into(self._map, 0, self._ahead_ms() + by_ms)

    def begin_hour(self) -> None:
        """Put it ahead to the beginning of the next hour."""
        self.advance(_HOUR_MS - self.now_ms() % _HOUR_MS)

    def now_ms(self) -> int:
        """Milliseconds since the epoch on this clock."""
        return time.time_ns() // 1_000_000 + self._ahead_ms()

    def _ahead_ms(self) -> int:
        return int(_AHEAD_MS.unpack_from(self._map)[0])
