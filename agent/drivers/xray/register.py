"""Which client connection belongs to which account, in memory only (a raw address never touches a disk).

What always holds: a connection belongs to one account, the one that was named last, save where connections
are shared: there it belongs to everybody who was named; an account without connections takes no room; of what
the kernel cannot say whether it lives no more than `most` is kept, the latest. Pure: what is told and what is
asked, no clock and no socket.
"""

from collections.abc import Iterable
from collections.abc import Set as AbstractSet

from agent.drivers.xray import labels
from agent.drivers.xray.sockets import Peer
from shared.names import EndpointId


class Register:
    """Connections by account, and accounts by connection; those of `shared` endpoints may be many users'."""

    def __init__(self, shared: AbstractSet[EndpointId] = frozenset(), most: int | None = None) -> None:
        self._shared = shared
        self._most = most
        self._peers: dict[str, set[Peer]] = {}
        self._owners: dict[EndpointId, dict[Peer, str]] = {}
        self._others: dict[EndpointId, dict[Peer, set[str]]] = {}
        self.dropped = 0

    def __len__(self) -> int:
        return sum(len(owners) for owners in self._owners.values())

    def note(self, email: str, peer: Peer, *, unless_owned: bool = False) -> bool:
        """Remember that this connection authenticated as this account; False when the name is not ours.

        `unless_owned` leaves it to whoever has it: for a connection that may be meant.
        """
        parsed = labels.parse_email(email)
        if parsed is None:
            return False
        owners = self._owners.setdefault(parsed[1], {})
        before = owners.get(peer)
        if before is not None and unless_owned:
            return True
        if before not in (None, email):
            self._share(parsed[1], peer, str(before), email)
        owners[peer] = email
        self._peers.setdefault(email, set()).add(peer)
        if self._most is not None and before is None and len(owners) > self._most:
            self._drop(parsed[1], next(iter(owners)))
        return True

    def endpoints(self) -> AbstractSet[EndpointId]:
        """The endpoints of which anything is known."""
        return self._owners.keys()

    def of(self, emails: Iterable[str]) -> dict[str, list[Peer]]:
        """The connections of these accounts; those without any are left out."""
        return {email: list(self._peers[email]) for email in emails if email in self._peers}

    def everything(self) -> dict[str, list[Peer]]:
        """All connections by account."""
        return self.of(self._peers)

    def sharers(self, emails: Iterable[str]) -> dict[str, dict[Peer, list[str]]]:
        """The connections of these accounts that carried others too, with the others."""
        found: dict[str, dict[Peer, list[str]]] = {}
        for email in emails:
            parsed = labels.parse_email(email)
            others = self._others.get(parsed[1], {}) if parsed else {}
            for peer in self._peers.get(email, frozenset()) & others.keys():
                among = {*others[peer], self._owners[parsed[1]][peer]} if parsed else set()
                found.setdefault(email, {})[peer] = sorted(among - {email})
        return found

    def follow(self, endpoint: EndpointId, sessions: Iterable[AbstractSet[Peer]]) -> None:
        """Sessions are each one user's: what nobody was named for belongs to whoever has the rest of it."""
        owners = self._owners.get(endpoint, {})
        for peers in sessions:
            named = {owners[peer] for peer in peers if peer in owners}
            if len(named) == 1:
                (email,) = named
                for peer in peers - owners.keys():
                    self.note(email, peer)

    def prune(self, endpoint: EndpointId, live: AbstractSet[Peer]) -> list[tuple[str, Peer]]:
        """Drop the connections of an endpoint that are no longer among the live ones; returns them."""
        owners = self._owners.get(endpoint, {})
        gone = [(email, peer) for peer, email in owners.items() if peer not in live]
        for _, peer in gone:
            self._drop(endpoint, peer)
        return gone

    def _share(self, endpoint: EndpointId, peer: Peer, before: str, email: str) -> None:
        if endpoint in self._shared:
            others = self._others.setdefault(endpoint, {}).setdefault(peer, set())
            others.add(before)
            others.discard(email)
        else:
            self._forget(before, peer)

    def _drop(self, endpoint: EndpointId, peer: Peer) -> None:
        self._forget(self._owners[endpoint].pop(peer), peer)
        for other in self._others.get(endpoint, {}).pop(peer, ()):
            self._forget(other, peer)
        self.dropped += 1

    def _forget(self, email: str, peer: Peer) -> None:
        peers = self._peers[email]
        peers.discard(peer)
        if not peers:
            del self._peers[email]
