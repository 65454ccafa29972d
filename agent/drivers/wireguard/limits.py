"""Speed limits as lines for `tc -batch`: pure.

Down is HTB on the interface, by the address a packet goes to; up is HTB on an ifb to which everything that
comes out of the interface is led, by the address it comes from. Addresses are looked up by their last byte in
a u32 hash table, so ten thousand of them cost a packet forty comparisons, not ten thousand.

What always holds: a user without a limit has no class and passes as if there were none; lines change what
differs and nothing else.
"""

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from agent.core.counting import Meter

_CLASSES = range(0x10, 0xFFF0)
_NODES = range(1, 0x1000)
#: A burst of ten milliseconds, and never less than ten full packets.
_BURST_S = 0.01
_LEAST_BURST_BYTES = 15_360
_QUANTUM_BYTES = 4_000


class Limit(NamedTuple):
    """Rates in kbit/s from the user's side, None for none, over these addresses together."""

    addresses: tuple[str, ...]
    up_kbps: int | None
    down_kbps: int | None


class _Family(NamedTuple):
    protocol: str
    priority: int
    table: int
    match: str
    #: Where the last four bytes of the address are, from the beginning of the packet.
    to_offset: int
    from_offset: int


_FOUR = _Family("ip", 1, 2, "ip", 16, 12)
_SIX = _Family("ipv6", 2, 3, "ip6", 36, 20)


class _Side(NamedTuple):
    device: str
    word: str
    up: bool

    def offset(self, family: _Family) -> int:
        return family.from_offset if self.up else family.to_offset

    def rate(self, limit: Limit) -> int | None:
        return limit.up_kbps if self.up else limit.down_kbps


class _Place(NamedTuple):
    """Where an address is looked up: its family, bucket and number in the bucket."""

    family: _Family
    bucket: int
    node: int

    @property
    def handle(self) -> str:
        return f"{self.family.table}:{self.bucket:x}:{self.node:x}"


class Limits:
    """The limits of one interface, as they are in the kernel once the lines are through."""

    def __init__(self, device: str, mirror: str) -> None:
        self.mirror = mirror
        #: Who has no limit although he is to have one, and why.
        self.left_out: dict[Meter, str] = {}
        self._device = device
        self._sides = (_Side(device, "dst", up=False), _Side(mirror, "src", up=True))
        self._limits: dict[Meter, Limit] = {}
        self._minors: dict[Meter, int] = {}
        self._places: dict[str, _Place] = {}
        self._classes = _Numbers(_CLASSES)
        self._buckets: dict[tuple[_Family, int], _Numbers] = {}

    def base(self) -> list[str]:
        """What all limits hang on, for interfaces that have nothing of it."""
        lines: list[str] = []
        for side in self._sides:
            lines.append(f"qdisc add dev {side.device} root handle 1: htb default 0")
            for family in (_FOUR, _SIX):
                head = f"filter add dev {side.device} {_parent(family)}"
                key = f"hashkey mask 0x000000ff at {side.offset(family)}"
                lines.append(f"{head} handle {family.table}: u32 divisor 256")
                lines.append(f"{head} u32 match u32 0 0 {key} link {family.table}:")
        lead = f"match u32 0 0 action mirred egress redirect dev {self.mirror}"
        lines.append(f"qdisc add dev {self._device} handle ffff: ingress")
        lines.append(f"filter add dev {self._device} parent ffff: protocol all prio 1 u32 {lead}")
        return lines

    def change(self, wanted: Mapping[Meter, Limit | None]) -> list[str]:
        """The lines that give these their limits, or none; for whom there is no room is in `left_out`."""
        lines: list[str] = []
        # Whoever leaves goes first: an address may be given on.
        for meter, limit in wanted.items():
            self.left_out.pop(meter, None)
            before = self._limits.get(meter)
            if before and (limit is None or _others(before, limit)):
                lines += self._drop(meter, before)
        lines.sort(key=_is_class)  # no class goes before what leads to it
        joining: list[str] = []
        for meter, limit in wanted.items():
            if limit is not None and limit != self._limits.get(meter):
                try:
                    joining += self._set(meter, limit)
                except ValueError as wrong:
                    self.left_out[meter] = str(wrong)
        # `tc` sends filters in batches as long as nothing else comes between.
        return [*lines, *sorted(joining, key=_is_filter)]

    def _set(self, meter: Meter, limit: Limit) -> list[str]:
        verb, places = "change", {}
        if meter not in self._limits:
            verb = "add"
            places = self._room(limit.addresses)
            self._places |= places
            self._minors[meter] = self._classes.take()
        minor = self._minors[meter]
        self._limits[meter] = limit
        lines: list[str] = []
        for side in self._sides:
            rate = side.rate(limit)
            if rate is not None:
                lines.append(f"class {verb} dev {side.device} parent 1: classid 1:{minor:x} {_shape(rate)}")
                lines += [_filter(side, address, place, minor) for address, place in places.items()]
        return lines

    def _drop(self, meter: Meter, limit: Limit) -> Iterator[str]:
        minor = self._minors.pop(meter)
        del self._limits[meter]
        places = [self._places.pop(address) for address in limit.addresses]
        self._give_back(places)
        self._classes.give(minor)
        for side in self._sides:
            if side.rate(limit) is not None:
                for place in places:
                    yield f"filter del dev {side.device} {_parent(place.family)} handle {place.handle} u32"
                yield f"class del dev {side.device} classid 1:{minor:x}"

    def _room(self, addresses: Sequence[str]) -> dict[str, _Place]:
        if not self._classes.left:
            raise ValueError(f"an interface carries at most {len(_CLASSES)} users with a speed limit")
        places: dict[str, _Place] = {}
        for address in addresses:
            packed = ipaddress.ip_address(address).packed
            family, bucket = (_FOUR if len(packed) == 4 else _SIX), packed[-1]  # noqa: PLR2004 - bytes of IPv4
            nodes = self._buckets.setdefault((family, bucket), _Numbers(_NODES))
            if not nodes.left:
                self._give_back(places.values())
                at_most = f"at most {len(_NODES)} limited addresses"
                raise ValueError(f"{at_most} of an interface may end in the same byte")
            places[address] = _Place(family, bucket, nodes.take())
        return places

    def _give_back(self, places: Iterable[_Place]) -> None:
        for place in places:
            self._buckets[place.family, place.bucket].give(place.node)


class _Numbers:
    """Numbers of a range, each given to one at a time."""

    def __init__(self, among: range) -> None:
        self.left = len(among)
        self._unused = iter(among)
        self._returned: list[int] = []

    def take(self) -> int:
        """One that nobody has; only while some are `left`."""
        self.left -= 1
        return self._returned.pop() if self._returned else next(self._unused)

    def give(self, number: int) -> None:
        """Nobody has it any more."""
        self.left += 1
        self._returned.append(number)


def _others(before: Limit, after: Limit) -> bool:
    """Whether it takes other classes or filters, and not only other rates in those there are."""
    same = (before.up_kbps is None) == (after.up_kbps is None)
    return (
        before.addresses != after.addresses
        or not same
        or (before.down_kbps is None) != (after.down_kbps is None)
    )


def _is_class(line: str) -> bool:
    return line.startswith("class")


def _is_filter(line: str) -> bool:
    return line.startswith("filter")


def _parent(family: _Family) -> str:
    return f"parent 1: protocol {family.protocol} prio {family.priority}"


def _shape(kbps: int) -> str:
    burst = max(_LEAST_BURST_BYTES, int(kbps * 1000 / 8 * _BURST_S))
    return f"htb rate {kbps}kbit burst {burst} cburst {burst} quantum {_QUANTUM_BYTES}"


def _filter(side: _Side, address: str, place: _Place, minor: int) -> str:
    family, length = place.family, 32 if place.family is _FOUR else 128
    head = f"filter add dev {side.device} {_parent(family)}"
    bucket = f"{family.table}:{place.bucket:x}:"
    match = f"match {family.match} {side.word} {address}/{length}"
    return f"{head} handle {place.handle} u32 ht {bucket} {match} flowid 1:{minor:x}"
