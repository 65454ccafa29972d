"""One interface and everybody on it.

What always holds: peers are changed by what differs, never replaced as a whole and never removed and added
again; a blocked peer keeps its session and its counter, and is removed only after a reading, when there are
too many of them. Calls block; those that change something come one at a time.
"""

import logging
import threading
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TypeVar

from agent.core.counting import Meter, Reading
from agent.core.sessions import Session
from agent.drivers import base
from agent.drivers.wireguard import books, checks, peers, register, shaping, sightings
from agent.drivers.wireguard.daemon import Daemon
from shared import logs
from shared.messages import Account, Endpoint
from shared.names import EndpointId

One = TypeVar("One", Account, Meter)

LOGGER = logging.getLogger(__name__)

#: Blocked peers that are kept, so that whoever is unblocked goes on in his session: ten kilobytes each.
KEPT_BLOCKED = 5_000


class Interface:
    """What serves one endpoint. `daemon` is the process behind it, if it is one."""

    def __init__(
        self,
        endpoint: Endpoint,
        device: peers.Device,
        written: register.Register,
        *,
        daemon: Daemon | None = None,
        kept: books.Books | None = None,
        keep_blocked: int = KEPT_BLOCKED,
    ) -> None:
        self.endpoint = endpoint
        self.link = checks.link(endpoint)
        self.device = device
        self.daemon = daemon
        self._books = kept or books.Books()
        self._register = written
        self._shaper = shaping.Shaper(device.name)
        self._heard = sightings.Sightings()
        self._keep_blocked = keep_blocked
        self._changing = threading.Lock()
        self._given: Reading | None = None

    @property
    def name(self) -> str:
        """The interface's name."""
        return self.device.name

    @property
    def lives(self) -> bool:
        """Whether its process runs, as far as it has one; an interface of the kernel is asked."""
        return self.daemon is None or not self.daemon.ended.is_set()

    def living(self) -> "Interface":
        """Itself; raises CoreDownError when its process is gone."""
        if not self.lives:
            raise base.CoreDownError(self.daemon.reason() if self.daemon else "it is gone")
        return self

    def about(self) -> dict[str, object]:
        """What a log says of it."""
        about = {"endpoint": self.endpoint.endpoint, "interface": self.name}
        return about | {"backend": self.device.backend, "generation": self.device.generation}

    def add(self, accounts: Sequence[Account]) -> dict[Meter, str]:
        """Serve these too; returns the refused ones with the reason."""
        asked, refused = self._checked(accounts)
        normal = {Meter(one.user, one.endpoint): books.normal(one) for one in accounts}
        with self._changing:
            plan = self._books.plan(asked)
            if plan.gone:
                self.device.apply([peers.block(key) for key in plan.gone])
            if plan.reading:
                self._read()
            self._books.retire(plan.gone)
            self._books.serve(plan.ready, normal)
            self._register.save(self._books)
            self.device.apply([*map(peers.remove, plan.gone), *plan.changes])
            self._books.outdate(time.monotonic())
            self._heard.forget(plan.gone)
            self._limit(plan.ready)
        return {**refused, **plan.refused}

    def block(self, meters: Iterable[Meter]) -> None:
        """Let nothing of these pass, from the return of this on."""
        with self._changing:
            keys = self._books.keys(meters)
            if keys:
                self.device.apply([peers.block(key) for key in keys])
                self._books.block(keys, time.monotonic())

    def tidy(self, meters: Iterable[Meter]) -> None:
        """After a reading: free what blocked users need no more, and remove those blocked longest ago."""
        with self._changing:
            surplus = self._books.surplus(self._keep_blocked)
            self._books.retire(surplus)
            self._register.save(self._books)
            self.device.apply([peers.remove(key) for key in surplus])
            self._books.outdate(time.monotonic())
            served = {entry.wanted.meter for entry in self._books.served()}
            self._shaper.change({meter: None for meter in meters if meter not in served})

    def make_exact(self, accounts: Mapping[Meter, Account]) -> dict[Meter, str]:
        """Serve these and nobody else; whoever is served as wanted is left alone. Returns the refused."""
        found = self.accounts()
        self.block([meter for meter in found if meter not in accounts])
        self.reading()
        self.tidy([meter for meter in found if meter not in accounts])
        return self.add([one for meter, one in accounts.items() if found.get(meter) != books.normal(one)])

    def everybody(self) -> list[Meter]:
        """Whoever is served."""
        with self._changing:
            return [entry.wanted.meter for entry in self._books.served()]

    def reading(self) -> Reading:
        """All counters, those of blocked and removed peers included."""
        asked_s = time.monotonic()
        state = self.device.state()
        with self._changing:
            self._take(state, asked_s)
            self._register.save(self._books)
            self._given = Reading(self.device.generation, self._books.counts(), self.name)
            return self._given

    def last_words(self) -> list[Reading]:
        """What nobody has been told yet, before it is removed; nothing passes from then on."""
        self.block(self.everybody())
        given = self._given
        last = self.reading()
        return [] if last == given else [last]

    def sessions(self) -> list[Session]:
        """Who has a session, from each of his addresses."""
        asked_s = time.monotonic()
        state = self.device.state()
        since_s = time.time() - sightings.SESSION_S
        with self._changing:
            self._take(state, asked_s)
            alive = [
                entry.wanted
                for entry in self._books.served()
                if entry.seen is not None and entry.seen.handshake_s > since_s
            ]
            return [
                Session(wanted.meter.user, wanted.meter.endpoint, address)
                for wanted in alive
                for address in self._heard.of(wanted.key, asked_s)
            ]

    def accounts(self) -> dict[Meter, Account]:
        """Whom the interface itself serves. What somebody else has let in is put out again."""
        asked_s = time.monotonic()
        state = self.device.state()
        with self._changing:
            self._take(state, asked_s)
            if undo := self._books.compare(state.peers, asked_s):
                logs.event(LOGGER, logging.WARNING, "peers_undone", interface=self.name, peers=len(undo))
                self.device.apply(undo)
            return {entry.wanted.meter: _told(entry) for entry in self._books.served()}

    def write(self) -> None:
        """Put it into the register. Raises DriverError when that is not possible."""
        self._register.begin(self._books)

    def recognise(self, expected: Mapping[Meter, Account]) -> None:
        """Tell of those who are served as expected as they were asked for, however that was spelt."""
        with self._changing:
            for entry in self._books.served():
                account = expected.get(entry.wanted.meter)
                if account is not None and self._is(entry.wanted, account):
                    entry.account = books.normal(account)

    def _is(self, wanted: checks.Wanted, account: Account) -> bool:
        try:
            return checks.wanted(account, self.link) == wanted
        except ValueError:
            return False

    def restore_limits(self) -> None:
        """Set the limits of everybody served anew, as after an adoption."""
        with self._changing:
            self._shaper.forget()
            self._limit({entry.wanted.meter: entry.wanted for entry in self._books.served()})

    def forget(self) -> None:
        """The interface is gone: so is its register."""
        self._register.remove()

    def _checked(self, accounts: Collection[Account]) -> tuple[list[checks.Wanted], dict[Meter, str]]:
        asked: list[checks.Wanted] = []
        refused: dict[Meter, str] = {}
        for account in accounts:
            try:
                asked.append(checks.wanted(account, self.link))
            except ValueError as wrong:
                refused[Meter(account.user, account.endpoint)] = str(wrong)
        return asked, refused

    def _limit(self, wanted: Mapping[Meter, checks.Wanted]) -> None:
        try:
            self._shaper.change({meter: shaping.limit(one) for meter, one in wanted.items()})
        except base.DriverError as error:
            # Users are served faster than they should be rather than not at all; the next change tries again.
            logs.event(LOGGER, logging.ERROR, "limits_not_set", interface=self.name, reason=str(error))

    def _read(self) -> None:
        asked_s = time.monotonic()
        self._take(self.device.state(), asked_s)

    def _take(self, state: peers.State, asked_s: float) -> None:
        self._heard.note(self._books.read(state.peers, asked_s), asked_s)


def by_endpoint(many: Iterable[One]) -> dict[EndpointId, list[One]]:
    """These by the endpoint they are of."""
    found: dict[EndpointId, list[One]] = {}
    for one in many:
        found.setdefault(one.endpoint, []).append(one)
    return found


def _told(entry: books.Entry) -> Account:
    """The account as the interface has it: what differs there shows."""
    seen = entry.seen
    same = seen is not None and set(seen.allowed) == set(entry.wanted.allowed)
    if same and seen is not None and seen.preshared == entry.wanted.preshared:
        return entry.account
    return books.unlike(entry.account)
