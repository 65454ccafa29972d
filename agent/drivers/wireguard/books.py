"""Whose each peer of an interface is, and what it has carried: pure.

What always holds:
- The count of a meter never falls as long as its interface lives: not when its key changes, not when a peer
  is removed, not when somebody else removes and adds it.
- What reaches the interface from a blocked peer is dropped there, so it is nobody's: a count stands still
  from the first reading that began after the block until the peer is served again.
- A reading that began before one that is known already says nothing new and is left out.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from agent.core.counting import Count, Meter
from agent.drivers.wireguard.checks import Wanted
from agent.drivers.wireguard.peers import Change, Seen, block, remove
from shared.messages import Account

#: Packets that were let through just before a block leave the interface's queues within this.
DRAIN_S = 0.1
_NOTHING = Count(0, 0)


@dataclasses.dataclass(slots=True)
class Entry:
    """A peer: whose it is, and how its counter becomes a part of its meter's count.

    The count is `up`, `down` and what the counter shows; `still_up` and `still_down` replace those sums while
    they stand still.
    """

    wanted: Wanted
    account: Account
    blocked: bool = False
    blocked_s: float = 0.0
    up: int = 0
    down: int = 0
    still_up: int | None = None
    still_down: int | None = None
    rx: int = 0
    tx: int = 0
    seen: Seen | None = None

    @property
    def total(self) -> Count:
        """Its part of the meter's count."""
        up = self.up + self.rx if self.still_up is None else self.still_up
        down = self.down + self.tx if self.still_down is None else self.still_down
        return Count(up, down)

    def move(self, seen: Seen) -> None:
        """Take what its counter shows now; one that fell began anew."""
        self.up += self.rx if seen.rx < self.rx else 0
        self.down += self.tx if seen.tx < self.tx else 0
        self.rx, self.tx, self.seen = seen.rx, seen.tx, seen

    def calm(self, asked_s: float) -> bool:
        """Let the count of a blocked peer stand still; whether it does in both directions."""
        if asked_s > self.blocked_s and self.still_up is None:
            self.still_up = self.total.up
        if asked_s > self.blocked_s + DRAIN_S and self.still_down is None:
            self.still_down = self.total.down
        return self.still_up is not None and self.still_down is not None

    def resume(self) -> None:
        """Count again, from what the counter showed last."""
        if self.still_up is not None:
            self.up, self.still_up = self.still_up - self.rx, None
        if self.still_down is not None:
            self.down, self.still_down = self.still_down - self.tx, None
        self.blocked = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """How to serve accounts: `gone` are keys to be blocked, read and removed first; then `changes`, in order.

    `reading` says that counters must be read before, since a count goes on from there.
    """

    ready: Mapping[Meter, Wanted]
    gone: tuple[str, ...]
    changes: tuple[Change, ...]
    reading: bool
    refused: Mapping[Meter, str]


class Books:
    """All peers of one interface, those of blocked users included."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.retired: dict[Meter, Count] = {}
        #: Keys and meters whose state is not written down yet.
        self.unsaved: set[str | Meter] = set()
        self._keys: dict[Meter, list[str]] = {}
        self._counts: dict[Meter, Count] = {}
        self._restless: set[str] = set()
        #: By address, the key of who is served there.
        self._owners: dict[str, str] = {}
        self._asked_s = 0.0

    def read(self, peers: Mapping[str, Seen], asked_s: float) -> list[Seen]:
        """Take a reading that was asked for at this second; returns the peers that have received since."""
        if asked_s < self._asked_s:
            return []
        self._asked_s = asked_s
        # What somebody else has removed has carried what was read of it last.
        self.retire([key for key in self.entries if key not in peers])
        heard: list[Seen] = []
        for key, entry in self.entries.items():
            seen = peers[key]
            if seen is entry.seen:
                continue
            if seen.rx != entry.rx or entry.seen is None:
                heard.append(seen)
            entry.move(seen)
            self._count(entry.wanted.meter)
        self._calm(asked_s)
        return heard

    def counts(self) -> dict[Meter, Count]:
        """The counts of all meters that were ever served here, as last read."""
        return dict(self._counts)

    def served(self) -> Iterator[Entry]:
        """The peers that are not blocked."""
        return (entry for entry in self.entries.values() if not entry.blocked)

    def keys(self, meters: Iterable[Meter]) -> list[str]:
        """The keys of these that are not blocked."""
        found = [key for meter in meters for key in self._keys.get(meter, ())]
        return [key for key in found if not self.entries[key].blocked]

    def block(self, keys: Iterable[str], now_s: float) -> None:
        """These are blocked since this second."""
        for key in keys:
            entry = self.entries.pop(key)
            self._release(entry.wanted)
            entry.blocked, entry.blocked_s = True, now_s
            self.entries[key] = entry  # the last of the blocked ones
            self._restless.add(key)

    def surplus(self, keep: int) -> list[str]:
        """Blocked keys beyond this number whose counts stand still, those blocked first."""
        blocked = [key for key, entry in self.entries.items() if entry.blocked]
        return [key for key in blocked[: max(0, len(blocked) - keep)] if key not in self._restless]

    def retire(self, keys: Iterable[str]) -> None:
        """These are removed: what they have carried stays with their meters."""
        for key in keys:
            entry = self.entries.pop(key)
            self._release(entry.wanted)
            meter, before = entry.wanted.meter, self.retired.get(entry.wanted.meter, _NOTHING)
            self.retired[meter] = Count(before.up + entry.total.up, before.down + entry.total.down)
            self._keys[meter].remove(key)
            self._restless.discard(key)
            self.unsaved |= {key, meter}

    def serve(self, ready: Mapping[Meter, Wanted], accounts: Mapping[Meter, Account]) -> None:
        """These are being served from now on."""
        for meter, wanted in ready.items():
            entry = self.entries.get(wanted.key)
            if entry is None:
                self.enter(Entry(wanted, accounts[meter]))
                continue
            if entry.blocked:
                entry.resume()
                self._restless.discard(wanted.key)
            self._release(entry.wanted)
            self._owners |= dict.fromkeys(wanted.addresses, wanted.key)
            entry.wanted, entry.account = wanted, accounts[meter]
            self.unsaved.add(wanted.key)

    def enter(self, entry: Entry) -> None:
        """Put a peer in."""
        meter, key = entry.wanted.meter, entry.wanted.key
        self.entries[key] = entry
        self._keys.setdefault(meter, []).append(key)
        self.unsaved.add(key)
        if entry.blocked:
            self._restless.add(key)
        else:
            self._owners |= dict.fromkeys(entry.wanted.addresses, key)
        self._count(meter)

    def recall(self, meter: Meter, count: Count) -> None:
        """What removed peers of a meter had carried when an earlier agent wrote it down."""
        self.retired[meter] = count
        self._count(meter)

    def outdate(self, now_s: float) -> None:
        """Readings that began before this second are of peers that are not there any more."""
        self._asked_s = max(self._asked_s, now_s)

    def compare(self, peers: Mapping[str, Seen], now_s: float) -> list[Change]:
        """Note whom somebody else has blocked, and return how to end what he serves to nobody of ours.

        These peers have been read.
        """
        undo: list[Change] = []
        for key in [key for key in self.entries if key in peers]:
            entry, allowed = self.entries[key], peers[key].allowed
            if entry.blocked and allowed:
                undo.append(block(key))
            elif not entry.blocked and not allowed:
                self.block([key], now_s)
        return undo + [remove(key) for key in peers if key not in self.entries]

    def plan(self, asked: Iterable[Wanted]) -> Plan:
        """How to serve these beside those that are served. The last of equal meters counts."""
        ready = {wanted.meter: wanted for wanted in asked}
        refused: dict[Meter, str] = {}
        while clashes := self._clashes(ready):
            refused |= clashes
            ready = {meter: wanted for meter, wanted in ready.items() if meter not in clashes}
        gone = [k for w in ready.values() for k in self._keys.get(w.meter, ()) if k != w.key]
        lent = [w.key for w in ready.values() if self._lent(w)]
        held = [self.entries[w.key] for w in ready.values() if w.key in self.entries and w.key not in lent]
        return Plan(
            ready=ready,
            gone=tuple(dict.fromkeys([*gone, *lent])),
            changes=(*_narrowed(held, ready), *map(_change, ready.values())),
            reading=bool(gone or lent or any(entry.blocked for entry in held)),
            refused=refused,
        )

    def _lent(self, wanted: Wanted) -> bool:
        """Whether its key is still there as another meter's."""
        entry = self.entries.get(wanted.key)
        return entry is not None and entry.wanted.meter != wanted.meter

    def _clashes(self, ready: Mapping[Meter, Wanted]) -> dict[Meter, str]:
        """Those whose key or address another one has that stays, or that comes first."""
        keys: dict[str, Meter] = {}
        addresses: dict[str, Meter] = {}
        clashes: dict[Meter, str] = {}
        for meter, wanted in ready.items():
            owner = self._staying(wanted.key, ready) or keys.setdefault(wanted.key, meter)
            if owner != meter:
                clashes[meter] = f"its public key is that of user {owner.user}"
                continue
            for address in wanted.addresses:
                key = self._owners.get(address, "")
                owner = self._staying(key, ready) or addresses.setdefault(address, meter)
                if owner != meter:
                    reason = f"its address {address} in the tunnel is that of user {owner.user}"
                    clashes.setdefault(meter, reason)
        return clashes

    def _staying(self, key: str, ready: Mapping[Meter, Wanted]) -> Meter | None:
        """Who is served under this key and is not among those that change."""
        entry = self.entries.get(key)
        return entry.wanted.meter if entry and not entry.blocked and entry.wanted.meter not in ready else None

    def _release(self, wanted: Wanted) -> None:
        for address in wanted.addresses:
            if self._owners.get(address) == wanted.key:
                del self._owners[address]

    def _calm(self, asked_s: float) -> None:
        for key in list(self._restless):
            entry = self.entries[key]
            before = entry.still_up
            calm = entry.calm(asked_s)
            if calm or entry.still_up != before:
                self.unsaved.add(key)
            if calm:
                self._restless.remove(key)

    def _count(self, meter: Meter) -> None:
        parts = [self.entries[key].total for key in self._keys.get(meter, ())]
        retired = self.retired.get(meter, _NOTHING)
        up, down = sum(part.up for part in parts), sum(part.down for part in parts)
        self._counts[meter] = Count(retired.up + up, retired.down + down)


def _change(wanted: Wanted) -> Change:
    return Change(wanted.key, allowed=wanted.allowed, preshared=wanted.preshared or "")


def _narrowed(held: Sequence[Entry], ready: Mapping[Meter, Wanted]) -> Iterator[Change]:
    """Take the addresses that are to be others' from who has them, before the others get them."""
    wanted = {address: one.key for one in ready.values() for address in one.allowed}
    for entry in held:
        kept = tuple(
            one for one in entry.wanted.allowed if wanted.get(one, entry.wanted.key) == entry.wanted.key
        )
        if not entry.blocked and kept != entry.wanted.allowed:
            yield Change(entry.wanted.key, allowed=kept, only_known=True)


def normal(account: Account) -> Account:
    """The account without what an interface knows nothing of."""
    return msgspec.structs.replace(account, uuid="", terms=None)


def unlike(account: Account) -> Account:
    """The account as somebody else has changed its peer: nobody wants it like this."""
    return msgspec.structs.replace(account, peer=None)
