"""Sessions: from how many addresses a user is connected, by keyed hashes (rows H1, H2, H7).

What always holds: an address counts once, over however many endpoints, nodes and connections; hashes made
with different salts are never added up, so a change of the salt makes nobody more than he is. A user takes
bounded room: beyond `KEPT` addresses he counts as having that many.

The salt changes at midnight UTC and is a secret in memory only: with it gone, no hash leads to an address or
to a hash of another day. Rows made with the last one count on for a window's length, since they may be under
way; of two salts' counts the larger one holds. For that long a user may be counted too low, never too high.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from collector.domain import names
from shared.messages import Place
from shared.names import EndpointId, UserId

K = TypeVar("K")

DAY_MS = 86_400_000
HASH_BYTES = 16
KEY_BYTES = 32
#: More at once than this cannot be asked for, and one more is all that needs to be told apart from it.
MAX_CONCURRENT = 100
KEPT = MAX_CONCURRENT + 1
MAX_DEVICES = 64
MAX_DEVICE = 128


@dataclass(frozen=True, kw_only=True)
class Salt:
    """What nodes hash addresses with on one day (UTC, counted since the epoch)."""

    number: int
    key: bytes = field(repr=False)
    day: int


@dataclass(frozen=True, kw_only=True)
class Salts:
    """The present salt, and the number of the last one, whose key is gone."""

    present: Salt
    last: int | None = None
    last_until_s: float = 0.0

    def accepts(self, number: int, now_s: float) -> bool:
        """Whether rows made with this salt count."""
        return number == self.present.number or (number == self.last and now_s < self.last_until_s)


def day(now_ms: int) -> int:
    """The day of a moment."""
    return now_ms // DAY_MS


def left_s(now_ms: int) -> float:
    """Seconds until the day is over."""
    return (DAY_MS - now_ms % DAY_MS) / 1000


def turned(before: Salts | None, fresh: Salt, until_s: float) -> Salts:
    """A new day's salts; the last one's rows count until then, on the clock that `accepts` is asked by."""
    last = None if before is None else before.present.number
    return Salts(present=fresh, last=last, last_until_s=until_s)


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What a user may do at once; without devices he may use any."""

    user: UserId
    max_concurrent: int | None
    allowed_devices: tuple[str, ...] = ()


class Sight:
    """One address of a user on one endpoint with one device, and its last monotonic second."""

    __slots__ = ("address", "device", "endpoint", "last_s", "place", "salt")

    def __init__(
        self,
        salt: int,
        address: bytes,
        endpoint: EndpointId,
        last_s: float,
        device: str | None = None,
        place: Place | None = None,
    ) -> None:
        self.salt = salt
        self.address = address
        self.endpoint = endpoint
        self.last_s = last_s
        self.device = device
        self.place = place


def refreshed(sights: list[Sight], new: Sight) -> bool:
    """Note that an address was seen again; False when it was not known on this endpoint with this device."""
    for one in sights:
        if (
            one.address == new.address
            and one.endpoint == new.endpoint
            and one.salt == new.salt
            and one.device == new.device
        ):
            one.last_s = new.last_s
            return True
    return False


def add(sights: list[Sight], new: Sight) -> None:
    """Note an address that is not known so, where there is room."""
    if len(sights) < KEPT or _made_room(sights, new):
        sights.append(new)


def prune(sights: list[Sight], since_s: float) -> None:
    """Forget what was seen at this moment for the last time, or before."""
    sights[:] = [one for one in sights if one.last_s > since_s]


def count(sights: Iterable[Sight]) -> int:
    """The addresses among these."""
    by_salt: dict[int, set[bytes]] = {}
    for one in sights:
        by_salt.setdefault(one.salt, set()).add(one.address)
    return max(map(len, by_salt.values()), default=0)


def by_endpoint(sights: Iterable[Sight]) -> dict[EndpointId, int]:
    """The addresses on each endpoint; one on two of them is named twice."""
    return _counted(sights, lambda one: one.endpoint)


def by_place(sights: Iterable[Sight]) -> dict[Place | None, int]:
    """The addresses in each place."""
    return _counted(sights, lambda one: one.place)


def wrong_concurrent(wanted: int | None) -> str | None:
    """What is wrong with a limit of sessions, or None; no limit is fine."""
    if wanted is None or 1 <= wanted <= MAX_CONCURRENT:
        return None
    return f"use a whole number from 1 to {MAX_CONCURRENT}, or null for no limit"


def wrong_devices(wanted: Iterable[str]) -> str | None:
    """What is wrong with a list of devices, or None; an empty one allows all."""
    devices = list(wanted)
    if len(devices) > MAX_DEVICES:
        return f"name at most {MAX_DEVICES} devices, or none to allow all"
    if all(0 < len(one) <= MAX_DEVICE and one.isprintable() for one in devices):
        return None
    return f"use 1 to {MAX_DEVICE} printable characters for each device"


def wrong(max_concurrent: int | None, allowed_devices: Iterable[str]) -> dict[str, str]:
    """What is wrong with both, by field."""
    return names.collect(
        max_concurrent=wrong_concurrent(max_concurrent), allowed_devices=wrong_devices(allowed_devices)
    )


def _made_room(sights: list[Sight], new: Sight) -> bool:
    """Give up the second sight of some address for one that is new; False when there is nothing to give."""
    taken = {(new.salt, new.address)}
    for place, one in enumerate(sights):
        name = (one.salt, one.address)
        if name == (new.salt, new.address):
            return False  # it is counted already
        if name in taken:
            del sights[place]
            return True
        taken.add(name)
    return False


def _counted(sights: Iterable[Sight], key: Callable[[Sight], K]) -> dict[K, int]:
    groups: dict[K, list[Sight]] = {}
    for one in sights:
        groups.setdefault(key(one), []).append(one)
    return {name: count(group) for name, group in groups.items()}
