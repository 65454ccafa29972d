"""What the driver has the kernel do about clients besides ending connections: clients on UDP, and rates.

What always holds: the tables in the kernel's packet filter are there only while an Xray of ours needs them; a
new Xray begins without what was left of an earlier one. What cannot be done here is said in sentences.
"""

import asyncio
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence

from agent.core.counting import Meter
from agent.drivers import nft
from agent.drivers.xray import (
    barrier,
    carriers,
    cores,
    datagrams,
    options,
    rates,
    sockets,
)
from shared import logs
from shared.messages import Account
from shared.names import EndpointId

LOGGER = logging.getLogger(__name__)

Ways = Mapping[EndpointId, carriers.Carriers]


class Guard:
    """The kernel's part for one run directory; `refusal` says why no connection can be ended, None if any."""

    def __init__(self, chosen: options.Options) -> None:
        self.refusal = sockets.refusal()
        #: Endpoints found to have connections that carry several users.
        self.sharing: set[EndpointId] = set()
        self._chosen = chosen
        self._filter_refusal = nft.refusal()
        self.datagrams = datagrams.Datagrams(barrier.Barrier(chosen.run_dir), self._filter_refusal)
        self._rates = rates.Rates()

    def limitations(self, ways: Ways) -> tuple[str, ...]:
        """What cannot be done on this node, in sentences."""
        found = [*powerless(self.refusal, self._filter_refusal)]
        for key, way in sorted(ways.items()):
            found += [_VEILED.format(key)] * way.veiled + [_MASKED.format(key)] * way.masked
            found += [_SHARED.format(key)] * (key in self.sharing)
        if self._chosen.splice:
            found.append(_SPLICING)
        if self._rates.problem:
            found.append(f"Users may be faster than their rates: {self._rates.problem}.")
        return tuple(found)

    async def began(self, core: cores.Core) -> None:
        """A new Xray serves, with nobody connected yet."""
        await self.ended()
        await self.watch(core)
        await self._rates.begin(core.host, core.roll.accounts.values())

    async def adopted(self, core: cores.Core) -> None:
        """An Xray with all its clients was taken over."""
        await self.watch(core)
        await self._rates.begin(core.host, core.roll.accounts.values(), anew=False)

    async def watch(self, core: cores.Core) -> None:
        """Let the kernel know which ports have clients on UDP; after every change of the endpoints."""
        await self.datagrams.serve(core.ways().values())

    async def ended(self) -> None:
        """No Xray is left: leave nothing in the kernel of what it needed."""
        self.sharing.clear()
        if self._filter_refusal is None:
            tables = [barrier.table_name(self._chosen.run_dir, purpose) for purpose in barrier.PURPOSES]
            try:
                await asyncio.to_thread(nft.remove, *tables)
            except nft.NftError as error:
                logs.event(LOGGER, logging.WARNING, "tables_left", reason=str(error))

    async def joined(
        self, core: cores.Core, accounts: Sequence[Account], refused: Mapping[Meter, str]
    ) -> dict[Meter, str]:
        """These but the refused are served too, or with another rate than before."""
        served = {Meter(account.user, account.endpoint): account for account in accounts}
        served = {meter: account for meter, account in served.items() if meter not in refused}
        await self.datagrams.admit([(meter, core.roll.login(meter)) for meter in served])
        await self._rates.add(core.host, served.values())
        return dict(refused)

    def leaving(self, core: cores.Core, meters: Collection[Meter]) -> None:
        """These are about to be refused."""
        self.datagrams.leaving({meter: core.roll.login(meter) for meter in meters})

    async def left(self, core: cores.Core, meters: Collection[Meter]) -> None:
        """These have been cut."""
        self.datagrams.forget(meters)
        await self._rates.drop(core.host, meters)

    async def mend(self, core: cores.Core) -> None:
        """Put back what others took out of the kernel."""
        await self.watch(core)
        if self._rates.problem:
            await self._rates.tell(core.host)


def powerless(refusal: str | None, filter_refusal: str | None) -> Iterator[str]:
    """What cannot be done where connections cannot be ended, and where packets cannot be dropped."""
    if refusal:
        yield (
            f"Live connections cannot be cut, since {refusal}: a user who is stopped is refused new "
            "connections, but those he has go on until they end by themselves."
        )
    if filter_refusal:
        yield (
            f"Clients on UDP cannot be cut and rates cannot be kept, since {filter_refusal}: a user of an "
            "endpoint on UDP who is stopped goes on until his session ends by itself, and every user is as "
            "fast as the line."
        )


_VEILED = (
    "Endpoint {} is told of its clients by a proxy in front of it: a user who is stopped there is refused "
    "new connections, but those he has go on until they end by themselves."
)
_SHARED = (
    "Connections to endpoint {} carry several users at once, as those of a CDN do: a user who is stopped "
    "there is refused new streams, but those he has on a connection with others go on until they end by "
    "themselves."
)
_MASKED = (
    "Endpoint {} hides its QUIC behind a mask: a user who is stopped there loses the session he has, but a "
    "client that changes its port within half a minute, as those that hop do, may take it up again."
)
_SPLICING = (
    "Splicing is on: bytes of TLS connections may be counted only when a connection ends, so a quota can be "
    "overshot by one long connection."
)
