"""Which client connection belongs to which account, in memory only (a raw address never touches a disk).

What always holds: a connection belongs to one account, the one that was named last; an account without
connections takes no room. Pure: what is told and what is asked, no clock and no socket.
"""

from collections.abc import Iterable
from collections.abc import Set as AbstractSet

from agent.drivers.xray import labels
from agent.drivers.xray.sockets import Peer
from shared.names import EndpointId


class Register:
    """Connections by account, and accounts by connection."""

    def __init__(self) -> None:
        self._peers: dict[str, set[Peer]] = {}
        self._owners: dict[EndpointId, dict[Peer, str]] = {}
        self.events = 0
        self.dropped = 0

    def __len__(self) -> int:
        return sum(len(owners) for owners in self._owners.values())

    def note(self, email: str, peer: Peer) -> bool:
        """Remember that this connection authenticated as this account; False when the name is not ours."""
        parsed = labels.parse_email(email)
        if parsed is None:
            return False
        owners = self._owners.setdefault(parsed[1], {})
        before = owners.get(peer)
        if before not in (None, email):
            self._forget(str(before), peer)
        owners[peer] = email
        self._peers.setdefault(email, set()).add(peer)
        self.events += 1
        return True

    def of(self, emails: Iterable[str]) -> dict[str, list[Peer]]:
        """The connections of these accounts; those without any are left out."""
        return {email: list(self._peers[email]) for email in emails if email in self._peers}

    def everything(self) -> dict[str, list[Peer]]:
        """All connections by account."""
        return self.of(self._peers)

    def prune(self, endpoint: EndpointId, live: AbstractSet[Peer]) -> int:
        """Drop the connections of an endpoint that are no longer among the live ones; returns how many."""
        owners = self._owners.get(endpoint, {})
        gone = [peer for peer in owners if peer not in live]
        for peer in gone:
            self._forget(owners.pop(peer), peer)
        self.dropped += len(gone)
        return len(gone)

    def _forget(self, email: str, peer: Peer) -> None:
        peers = self._peers[email]
        peers.discard(peer)
        if not peers:
            del self._peers[email]
