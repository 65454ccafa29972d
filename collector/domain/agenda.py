"""Whose time comes when, in few bytes each.

What always holds: who is noted comes out once, at the first look at or after his moment, unless he was noted
for another moment since.
"""

from array import array

from collector.domain.paged import Paged

_MINUTE_MS = 60_000
_NEVER_MS = 2**62


class Agenda:
    """Users by the minute of their moments; there are few minutes."""

    def __init__(self) -> None:
        self._moments = Paged(0)
        self._minutes: dict[int, array[int]] = {}
        self._next_ms = _NEVER_MS

    def note(self, user: int, due_ms: int | None) -> None:
        """Keep a user's moment instead of the one he had; None is none."""
        moment_ms = due_ms or 0
        if self._moments[user] == moment_ms:
            return
        self._moments[user] = moment_ms
        if moment_ms:
            self._minutes.setdefault(moment_ms // _MINUTE_MS, array("q")).append(user)
            self._next_ms = min(self._next_ms, moment_ms)

    def come(self, now_ms: int) -> list[int]:
        """Take out those whose moment has come by now."""
        if now_ms < self._next_ms:
            return []
        moments, found, nexts = self._moments, [], [_NEVER_MS]
        for minute in [one for one in self._minutes if one * _MINUTE_MS <= now_ms]:
            left = array("q")
            for user in set(self._minutes[minute]):
                if not moments[user] or moments[user] // _MINUTE_MS != minute:
                    continue  # noted for another moment since
                if moments[user] <= now_ms:
                    moments[user] = 0
                    found.append(user)
                else:
                    left.append(user)
            nexts += [moments[user] for user in left]
            self._minutes[minute] = left
            if not left:
                del self._minutes[minute]
        nexts += [minute * _MINUTE_MS for minute in self._minutes if minute * _MINUTE_MS > now_ms]
        self._next_ms = min(nexts)
        return found
