"""Which accounts have a rate, as the driver knows it: told to the host, who holds them to it.

What always holds: the host is told all of it at every change, so a lost change is made good by the next.
"""

import logging
from collections.abc import Iterable

from agent.core.counting import Meter
from agent.drivers import base
from agent.drivers.xray import control, labels
from shared import endpoints, logs
from shared.messages import Account

LOGGER = logging.getLogger(__name__)


class Rates:
    """The rates of one Xray's accounts. `problem` says why they are not kept, None while they are."""

    def __init__(self) -> None:
        self.problem: str | None = None
        self._rates: dict[Meter, endpoints.Rate] = {}

    async def begin(self, host: control.Control, accounts: Iterable[Account], *, anew: bool = True) -> None:
        """A host serves exactly these; one that is not new may hold others to rates they had."""
        self._rates.clear()
        self.problem = None
        self._take(accounts)
        if self._rates or not anew:
            await self.tell(host)

    async def add(self, host: control.Control, accounts: Iterable[Account]) -> None:
        """These are served too, with the rates they now have, or without one."""
        if self._take(accounts):
            await self.tell(host)

    async def drop(self, host: control.Control, meters: Iterable[Meter]) -> None:
        """These are not served any more."""
        if [self._rates.pop(meter) for meter in meters if meter in self._rates]:
            await self.tell(host)

    async def tell(self, host: control.Control) -> None:
        """Have the host keep what is known here; one of an earlier version keeps nothing."""
        wanted = {labels.email(*meter): (rate.up_kbps, rate.down_kbps) for meter, rate in self._rates.items()}
        try:
            await host.rates(wanted)
        except base.DriverError as error:
            self.problem = str(error) if wanted else None
            logs.event(LOGGER, logging.WARNING, "rates_not_kept", users=len(wanted), reason=str(error))
        else:
            self.problem = None

    def _take(self, accounts: Iterable[Account]) -> bool:
        changed = False
        for account in accounts:
            meter = Meter(account.user, account.endpoint)
            rate = account.rate if account.rate != endpoints.Rate() else None
            if self._rates.get(meter) != rate:
                changed = True
                if rate is None:
                    del self._rates[meter]
                else:
                    self._rates[meter] = rate
        return changed
