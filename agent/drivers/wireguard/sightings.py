"""From which addresses each key is used: pure, and in memory only.

What always holds: an address counts as long as the session that it was heard in may live, so a key that two
people use from two places counts as two, and so for that long does one that moved. What an address sends
proves itself by the key: nobody else's can be heard.
"""

import ipaddress
from collections.abc import Iterable, Iterator

from agent.core.sessions import Address
from agent.drivers.wireguard.peers import Seen

#: After this a session must have been made anew or is over (REJECT_AFTER_TIME of the WireGuard paper, 6.1).
SESSION_S = 180
#: Addresses of one key; one that changes faster than any client does must not fill the memory.
_MOST = 128


class Sightings:
    """The addresses heard of each key, with the second of the last time."""

    def __init__(self) -> None:
        self._heard: dict[str, dict[str, float]] = {}

    def note(self, heard: Iterable[Seen], now_s: float) -> None:
        """These have received something since the last time."""
        for peer in heard:
            if host := _host(peer.endpoint):
                addresses = self._heard.setdefault(peer.key, {})
                addresses.pop(host, None)
                addresses[host] = now_s
                if len(addresses) > _MOST:
                    del addresses[next(iter(addresses))]

    def of(self, key: str, now_s: float) -> Iterator[Address]:
        """From where this key is used now; IPv4 mapped into IPv6 is given as IPv4."""
        addresses = self._heard.get(key, {})
        for host in [host for host, heard_s in addresses.items() if now_s - heard_s > SESSION_S]:
            del addresses[host]
        for host in addresses:
            found = ipaddress.ip_address(host)
            mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
            yield mapped or found

    def forget(self, keys: Iterable[str]) -> None:
        """These are no peers any more, or no users."""
        for key in keys:
            self._heard.pop(key, None)


def _host(endpoint: str) -> str | None:
    """The address of an address and port; None when there is none that could be one."""
    host = endpoint.rpartition(":")[0].strip("[]").partition("%")[0]
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return None
    return host
