"""Numbers by id, in pages: ids come in runs, with wide gaps where a restored collector began anew.

What always holds: every id has a number, the blank one until another is put; a page costs 8 KiB, however far
away its ids are.
"""

from array import array
from collections.abc import Iterator

#: What of an id says which page it is on, and where there.
BITS = 10
MASK = (1 << BITS) - 1


class Paged:
    """A column of 64-bit numbers, found by id."""

    __slots__ = ("_blank", "_pages")

    def __init__(self, blank: int) -> None:
        self._blank: array[int] = array("q", [blank]) * (MASK + 1)
        self._pages: dict[int, array[int]] = {}

    def __getitem__(self, number: int) -> int:
        """What stands at this id."""
        return self.page(number >> BITS)[number & MASK]

    def __setitem__(self, number: int, value: int) -> None:
        """Put a number at this id."""
        at = number >> BITS
        if at not in self._pages:
            self._pages[at] = self._blank[:]
        self._pages[at][number & MASK] = value

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """The ids with numbers other than the blank one, and these."""
        blank = self._blank[0]
        for at, page in self._pages.items():
            yield from ((at << BITS | place, value) for place, value in enumerate(page) if value != blank)

    def page(self, at: int) -> "array[int]":
        """The numbers of one page; only those that are not blank may be changed there."""
        return self._pages.get(at, self._blank)
