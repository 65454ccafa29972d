"""What the demo shows while it plays: one updating line on a terminal, plain lines in a pipe."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TextIO

_PLAIN_EVERY_S = 1.0
_BAR_CELLS = 24


@dataclass
class Stage:
    """Where the demo speaks; times shown are seconds since it began."""

    out: TextIO
    begun_s: float = field(default_factory=time.monotonic)
    shown_s: float = 0.0
    open_line: bool = False

    def say(self, text: str) -> None:
        """A line that stays."""
        self._close()
        self.out.write(f"{self._elapsed_s():6.1f} s  {text}\n")
        self.out.flush()

    def progress(self, text: str) -> None:
        """The state of things right now: replaces itself on a terminal, comes once a second in a pipe."""
        now_s = self._elapsed_s()
        if self.out.isatty():
            self.out.write(f"\r\x1b[2K{now_s:6.1f} s  {text}")
            self.out.flush()
            self.open_line = True
        elif now_s - self.shown_s >= _PLAIN_EVERY_S:
            self.shown_s = now_s
            self.say(text)

    def plain(self, text: str) -> None:
        """A line without the time: a table's, or the last."""
        self._close()
        self.out.write(text + "\n")
        self.out.flush()

    def _close(self) -> None:
        if self.open_line:
            self.out.write("\n")
            self.open_line = False

    def _elapsed_s(self) -> float:
        return time.monotonic() - self.begun_s


def bar(done: int, whole: int) -> str:
    """A bar and the megabytes: `######----   12.3 / 48.0 MB`."""
    cells = min(_BAR_CELLS, done * _BAR_CELLS // max(whole, 1))
    return f"{'#' * cells}{'-' * (_BAR_CELLS - cells)} {done / 1e6:5.1f} / {whole / 1e6:.1f} MB"


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Aligned lines: numbers with separators to the right, words to the left."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(len(row[column]) for row in [list(head), *cells]) for column in range(len(head))]
    numeric = [all(isinstance(row[column], int | float) for row in rows) for column in range(len(head))]
    lines = [list(head), ["-" * width for width in widths], *cells]
    return ["  ".join(map(_aligned, line, widths, numeric)).rstrip() for line in lines]


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _aligned(text: str, width: int, numeric: bool) -> str:
    return text.rjust(width) if numeric else text.ljust(width)
