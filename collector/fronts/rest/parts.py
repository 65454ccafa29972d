"""What handlers work with, put together once by main."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, TypeVar

from collector.app import wireguard
from collector.domain.changes import Change
from collector.domain.wireguard import Terms
from collector.fronts.rest.callers import Callers
from collector.fronts.rest.throttle import Throttle
from collector.fronts.rest.transactions import Transactions
from collector.fronts.rest.turns import Turns
from collector.hub import Hub
from collector.receivers import Receivers
from collector.sessions import Sessions

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Joining:
    """What a new node needs to know; without a CA of our own there is no hash to pin."""

    url: str
    ca_pem: str | None
    ca_hash: str | None
    ttl_s: int

    def command(self, token: str) -> str:
        """The one line to run on the node."""
        line = f"tidegate-agent enroll {self.url} {token}"
        return f"{line} --ca-hash {self.ca_hash}" if self.ca_hash else line


@dataclass(frozen=True, kw_only=True)
class Tunnels:
    """How users are put on WireGuard endpoints, and the DNS servers that their configurations name."""

    terms: Terms = wireguard.TERMS
    dns: tuple[str, ...] = ()


TUNNELS = Tunnels()


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The collector as handlers see it.

    `zone` is the one that new users get; `document` is the OpenAPI document; `hashing` bounds how many
    passwords are checked at once, each of which takes 19 MiB; `reports` how many reports are booked at once;
    `looking_back` how many questions about the past are answered at once, each of which may read for seconds.
    """

    data: Transactions
    hub: Hub
    sessions: Sessions
    receivers: Receivers
    callers: Callers
    logins: Throttle
    hashing: asyncio.Semaphore
    reports: Turns
    looking_back: asyncio.Semaphore
    joining: Joining
    zone: str
    tunnels: Tunnels
    document: bytes
    now_ms: Callable[[], int]

    async def change(
        self, function: Callable[Concatenate[Any, P], Change[T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a mutation, then wake the nodes it concerns, whoever listens, and who carries limits out."""
        change = await self.data.write(function, *args, **kwargs)
        self.hub.wake(change.nodes)
        self.receivers.wake()
        if change.managers:
            self.hub.managers.wake()
        return change.value
