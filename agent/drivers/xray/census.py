"""What the host knows of the clients of its Xray: told by events, asked by the agent, forgotten in time.

What always holds: a connection is forgotten when the kernel no longer has it, a client on UDP when no packet
of his was seen for longer than Xray keeps a session; what cannot be asked for is kept, too much rather than
too little, up to a bound. A user with a rate is held to it within `LIMIT_EVERY_S` of the event that tells of
his connection.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from agent.drivers import nft
from agent.drivers.xray import barrier, labels, limits, register, runfile, sockets, webhook
from shared.names import EndpointId

PRUNE_EVERY_S = 30.0
PRUNE_EVENTS = 4096
#: Clients on UDP remembered for one endpoint.
MOST_DATAGRAMS = 100_000
#: Between two changes of the kernel's limits, each some milliseconds of this thread.
LIMIT_EVERY_S = 0.05


class Census:
    """Connections (`streams`) and clients on UDP (`datagrams`) by account, and the limits of some."""

    def __init__(self, spec: runfile.Spec, now_s: float) -> None:
        self._spec = spec
        self._run_dir = Path(spec.run_dir)
        self._places: dict[EndpointId, runfile.Place] = {}
        self._written: tuple[int, int] | None = None
        self._shared: set[EndpointId] = set()
        self.streams = register.Register(self._shared)
        self.datagrams = register.Register(self._shared, MOST_DATAGRAMS)
        self._events = self._foreign = 0
        self._limits = limits.Limits(barrier.table_name(self._run_dir, "rate"))
        self._joining: dict[limits.Flow, str] = {}
        self._limited_at_s = self._pruned_at_s = self._seen_at_s = now_s
        self._pruned_events = 0

    def note(self, event: webhook.Event | None) -> None:
        """Remember what an event says."""
        parsed = labels.parse_email(event.email) if event else None
        if event is None or parsed is None:
            self._foreign += 1
            return
        self._events += 1
        self._learn()
        place = self._places.get(parsed[1])
        networks = place.networks.split(",") if place else ["tcp"]
        by_datagrams = "udp" in networks and (event.datagrams or "tcp" not in networks)
        if place is not None and "k" in place.way:
            return  # it comes from within a tunnel: its address is no client's
        if by_datagrams:
            self.datagrams.note(event.email, event.peer)
        if "tcp" in networks:
            # Streams that share a TCP connection carry UDP as well: then it is his, unless it has an owner.
            self.streams.note(event.email, event.peer, unless_owned=by_datagrams)
        if self._limits.rates:
            self._limit(event, parsed[1], ("udp" if by_datagrams else "tcp"))

    def connections(self, emails: Iterable[str] | None) -> dict[str, object]:
        """The answer to a question about these accounts, or all."""
        known = self.streams.everything() if emails is None else self.streams.of(emails)
        distant = self.datagrams.everything() if emails is None else self.datagrams.of(emails)
        shared = self.streams.sharers(known) | self.datagrams.sharers(distant)
        return {
            "connections": _texts(known),
            "datagrams": _texts(distant),
            "shared": {
                email: {peer.hex(): others for peer, others in of_him.items()}
                for email, of_him in shared.items()
            },
        }

    def counts(self) -> dict[str, object]:
        """Counts for whoever asks."""
        return {
            "events": self._events,
            "connections": len(self.streams),
            "datagrams": len(self.datagrams),
            "dropped": self.streams.dropped + self.datagrams.dropped,
            "foreign": self._foreign,
        }

    def keep_rates(self, wanted: Mapping[str, Iterable[int | None]] | None) -> dict[str, object]:
        """Hold exactly these accounts to their rates, when any are given; returns what is kept."""
        if wanted is not None:
            self._hold({email: limits.Rate(*rate) for email, rate in wanted.items()})
        kept = {email: list(rate) for email, rate in self._limits.rates.items()}
        return {"rates": kept, "problem": self._limits.problem}

    def due_s(self, now_s: float) -> float | None:
        """Seconds until new connections have to be limited; None when there are none."""
        return max(0.0, self._limited_at_s + LIMIT_EVERY_S - now_s) if self._joining else None

    def limit(self, now_s: float) -> None:
        """Limit the connections that came since the last time, when it is time to."""
        if self._joining and self.due_s(now_s) == 0:
            self._limited_at_s = now_s
            joining, self._joining = self._joining, {}
            self._limits.join(joining)

    def grown(self) -> bool:
        """Whether so much has come that what is gone should be forgotten before its time."""
        return self._events - self._pruned_events >= PRUNE_EVENTS

    def attend(self, now_s: float) -> None:
        """Forget what is gone, when it is time to."""
        if self.grown() or now_s - self._pruned_at_s >= PRUNE_EVERY_S:
            self.prune(now_s)

    def prune(self, now_s: float) -> None:
        """Forget what is gone."""
        self._pruned_at_s, self._pruned_events = now_s, self._events
        self._learn()
        for endpoint, place in self._places.items():
            if "tcp" in place.networks:
                self._prune_streams(endpoint, place.port)
        for gone in self.streams.endpoints() - self._places.keys():
            self.streams.prune(gone, frozenset())
        for gone in self.datagrams.endpoints() - self._places.keys():
            self.datagrams.prune(gone, frozenset())
        # A list of the kernel's that must be asked for in text is asked for less often.
        if len(self.datagrams) and now_s - self._seen_at_s >= PRUNE_EVERY_S:
            self._seen_at_s = now_s
            self._prune_datagrams()
        if self._limits.rates:
            self._hold(self._limits.rates)

    def _learn(self) -> None:
        """Know the endpoints that there are now: the agent writes them down before Xray opens one."""
        try:
            status = (self._run_dir / runfile.RUN_FILE).stat()
            written = status.st_ino, status.st_mtime_ns
        except OSError:
            written = 0, 0
        if written != self._written:
            self._written = written
            places = runfile.current(self._spec)
            self._places = {EndpointId(place.endpoint): place for place in places}
            self._shared.clear()
            self._shared.update(key for key, place in self._places.items() if "s" in place.way)

    def _prune_streams(self, endpoint: EndpointId, port: int) -> None:
        try:
            live = {found.peer for found in sockets.connections(port)}
        except OSError:
            return
        self.streams.prune(endpoint, live)

    def _prune_datagrams(self) -> None:
        try:
            seen = barrier.seen(self._run_dir)
            links = barrier.links(barrier.table_name(self._run_dir, "udp"))
        except nft.NftError:
            return
        for endpoint, place in self._places.items():
            if "q" in place.way:
                self.datagrams.follow(endpoint, barrier.Kinship(links.get(place.port, ())).sessions())
            if "udp" in place.networks and seen is not None:
                self.datagrams.prune(endpoint, seen.get(place.port, frozenset()))

    def _limit(self, event: webhook.Event, endpoint: EndpointId, protocol: str) -> None:
        place = self._places.get(endpoint)
        if place is not None:
            flow = limits.Flow(protocol, event.peer, place.port)
            if self._limits.concerns(flow, event.email):
                self._joining[flow] = event.email

    def _hold(self, rates: Mapping[str, limits.Rate]) -> None:
        flows: dict[limits.Flow, str] = {}
        for protocol, known in (("tcp", self.streams), ("udp", self.datagrams)):
            for email, peers in known.of(rates).items():
                parsed = labels.parse_email(email)
                place = self._places.get(parsed[1]) if parsed else None
                if place is not None:
                    flows |= {limits.Flow(protocol, peer, place.port): email for peer in peers}
        self._joining.clear()
        self._limits.hold(limits.Plan(rates, flows))


def _texts(known: Mapping[str, Iterable[sockets.Peer]]) -> dict[str, list[str]]:
    return {email: [peer.hex() for peer in peers] for email, peers in known.items()}
