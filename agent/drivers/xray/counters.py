"""Our meters out of Xray's counters, `user>>>EMAIL>>>traffic>>>uplink`; others are ignored.

What always holds: a reading holds what these counters hold and nothing else. Each name is taken apart once:
ten thousand users have twenty thousand counters, read several times a second.
"""

from collections.abc import Mapping
from typing import NamedTuple

from agent.core.counting import Count, Meter
from agent.drivers.xray import labels


class _Names(NamedTuple):
    """What Xray calls the two counters of one meter."""

    up: str
    down: str


class Counters:
    """Knows the counters of one Xray process, which never frees one."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._names: dict[Meter, _Names] = {}

    def counts(self, counters: Mapping[str, int]) -> dict[Meter, Count]:
        """The counts of every meter that has a counter; a direction without one is zero."""
        if not counters.keys() <= self._seen:
            for name in counters.keys() - self._seen:
                self._learn(name)
        return {
            meter: Count(counters.get(up, 0), counters.get(down, 0))
            for meter, (up, down) in self._names.items()
            if up in counters or down in counters
        }

    def _learn(self, name: str) -> None:
        self._seen.add(name)
        email = name.partition(">>>")[2].partition(">>>")[0]
        owner = labels.parse_email(email)
        moved = f"user>>>{email}>>>traffic"
        names = _Names(f"{moved}>>>uplink", f"{moved}>>>downlink")
        if owner and name in names:
            self._names[Meter(*owner)] = names
