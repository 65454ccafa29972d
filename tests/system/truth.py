"""What is true of the bytes in a world of faults, kept without any of the product's arithmetic.

What always holds: a byte is known by the core process that counted it. A memory is what one state directory
knows: of every process the most that a booked reading showed. Its totals are plain sums over processes, so a
directory that was restored from a copy simply knows what it knew then.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from agent.core.counting import Count, Meter
from shared.messages import Past, Usage
from shared.names import EndpointId, LedgerId, UserId

#: By the generation of a core process and the meter.
Memory = dict[tuple[str, Meter], Count]
#: What a collector has been told: by the ledger and the meter.
Told = dict[tuple[LedgerId, Meter], Count]

NOTHING = Count(0, 0)


def learn(memory: Memory, generation: str, counts: Mapping[Meter, Count]) -> None:
    """Take a booked reading into a memory."""
    for meter, count in counts.items():
        if count != NOTHING:
            memory[generation, meter] = most(memory.get((generation, meter), NOTHING), count)


def totals(memory: Memory) -> dict[Meter, Count]:
    """Bytes of each meter over all core processes."""
    summed: dict[Meter, Count] = {}
    for (_, meter), count in memory.items():
        summed[meter] = plus(summed.get(meter, NOTHING), count)
    return summed


def hear(told: Told, ledger: LedgerId, rows: Iterable[Past | Usage]) -> None:
    """Take a delivered report into what a collector has been told."""
    for row in rows:
        key = ledger, Meter(row.user, row.endpoint)
        told[key] = most(told.get(key, NOTHING), Count(row.up, row.down))


def plus(one: Count, other: Count) -> Count:
    """The sum, direction by direction."""
    return Count(one.up + other.up, one.down + other.down)


def most(one: Count, other: Count) -> Count:
    """The larger, direction by direction."""
    return Count(max(one.up, other.up), max(one.down, other.down))


def without(one: Count, other: Count) -> Count:
    """One without the other, direction by direction, never below zero."""
    return Count(max(0, one.up - other.up), max(0, one.down - other.down))


def within(one: Count, other: Count) -> bool:
    """Whether one is no more than the other, in both directions."""
    return one.up <= other.up and one.down <= other.down


@dataclass
class Truth:
    """Everything that readings ever showed, and what every ledger ever knew."""

    shown: Memory = field(default_factory=dict)
    ever: dict[LedgerId, Memory] = field(default_factory=dict)

    def booked(self, ledger: LedgerId, generation: str, counts: Mapping[Meter, Count]) -> None:
        """A ledger has kept a reading."""
        learn(self.shown, generation, counts)
        learn(self.ever.setdefault(ledger, {}), generation, counts)

    def of_user(self, user: UserId) -> Count:
        """Bytes of a user that readings showed: the most he may be billed."""
        return _of_user(totals(self.shown), user)

    def forgotten(self, user: UserId, alive: Mapping[LedgerId, Memory], told: Told) -> Count:
        """Bytes of a user that nobody can tell the collector any more.

        Of a ledger that is in use: what it once knew and, being restored from a copy, does not know now. Of
        one that is gone: what the collector was not told of it, or has forgotten with its own restored copy.
        """
        lost = NOTHING
        for ledger, ever in self.ever.items():
            known = totals(alive[ledger]) if ledger in alive else _of_ledger(told, ledger)
            for meter, count in totals(ever).items():
                if meter.user == user:
                    lost = plus(lost, without(count, known.get(meter, NOTHING)))
        return lost


def billed(told: Told, user: UserId) -> Count:
    """What the bill of a user must be: over all ledgers and endpoints, the most that was told."""
    bill = NOTHING
    for (_, meter), count in told.items():
        if meter.user == user:
            bill = plus(bill, count)
    return bill


def billed_by_endpoint(told: Told, user: UserId) -> dict[EndpointId, Count]:
    """The same by endpoint; endpoints without a byte are left out."""
    bills: dict[EndpointId, Count] = {}
    for (_, meter), count in told.items():
        if meter.user == user and count != NOTHING:
            bills[meter.endpoint] = plus(bills.get(meter.endpoint, NOTHING), count)
    return bills


def _of_ledger(told: Told, ledger: LedgerId) -> dict[Meter, Count]:
    return {meter: count for (name, meter), count in told.items() if name == ledger}


def _of_user(counts: Mapping[Meter, Count], user: UserId) -> Count:
    summed = NOTHING
    for meter, count in counts.items():
        if meter.user == user:
            summed = plus(summed, count)
    return summed
