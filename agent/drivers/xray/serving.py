"""The accounts of one running Xray: adds, replaces and blocks them over its API.

What always holds: `_held` is what Xray serves as far as we know and changes only after Xray has answered;
of one account only one call is under way; a block that comes while a long add is under way wins: the account
is not served when both have returned.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from agent.core.counting import Meter
from agent.core.served import Served
from agent.drivers import base
from agent.drivers.xray import accounts, labels, rpc
from shared.messages import Account, Endpoint
from shared.names import EndpointId

#: Calls under way at once; more do not make Xray faster (measured: 64 give 6,000 users/s on two cores).
IN_FLIGHT = 64


@dataclass
class _Turn:
    """Whose turn it is with one account, and how many want one."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    wanted: int = 0


class Serving:
    """What one Xray serves and how to change it."""

    def __init__(
        self, api: rpc.Api, endpoints: Mapping[EndpointId, Endpoint], held: Mapping[Meter, str]
    ) -> None:
        self._api = api
        self._endpoints = endpoints
        self._held = dict(held)
        self._withdrawn: list[set[Meter]] = []
        self._turns: dict[Meter, _Turn] = {}

    async def add(self, wanted: Sequence[Account]) -> dict[Meter, str]:
        """Serve these too; returns the refused with the reason. One with another UUID is replaced."""
        planned = accounts.plan(self._held, self._endpoints, wanted)
        ready = {Meter(account.user, account.endpoint): account.uuid for account in planned.add}
        withdrawn: set[Meter] = set()

        async def add(meter: Meter) -> None:
            if meter in withdrawn:
                raise base.DriverError("it was blocked meanwhile")
            await self._add(meter, ready[meter])

        self._withdrawn.append(withdrawn)
        try:
            failed = await self._each(planned.remove, self._remove)
            failed |= await self._each([meter for meter in ready if meter not in failed], add)
        finally:
            # By identity: two adds under way may have equal sets.
            self._withdrawn = [other for other in self._withdrawn if other is not withdrawn]
        return {**planned.refused, **failed}

    async def block(self, meters: Collection[Meter]) -> dict[Meter, str]:
        """Refuse new connections of these; returns those that could not be blocked with the reason."""
        for withdrawn in self._withdrawn:
            withdrawn.update(meters)
        return await self._each([m for m in meters if m.endpoint in self._endpoints], self._remove)

    async def _add(self, meter: Meter, uuid: str) -> None:
        tag, email = labels.tag(meter.endpoint), labels.email(*meter)
        added = await self._api.add_user(tag, email, uuid)
        if not added and (await self._api.users(tag, email)).get(email) != uuid:
            await self._remove(meter)
            await self._api.add_user(tag, email, uuid)
        self._held[meter] = uuid

    async def _remove(self, meter: Meter) -> None:
        await self._api.remove_user(labels.tag(meter.endpoint), labels.email(*meter))
        self._held.pop(meter, None)

    async def _each(
        self, meters: Collection[Meter], act: Callable[[Meter], Awaitable[None]]
    ) -> dict[Meter, str]:
        """Act on all of them, some at once; the reasons of those that failed. Raises CoreDownError."""
        failed: dict[Meter, str] = {}
        down: list[base.CoreDownError] = []
        left = iter(meters)

        async def work() -> None:
            for meter in left:
                if down:
                    return
                try:
                    async with self._turn(meter):
                        await act(meter)
                except base.CoreDownError as error:
                    down.append(error)
                except base.DriverError as error:
                    failed[meter] = str(error)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(IN_FLIGHT, len(meters))):
                group.create_task(work())
        if down:
            raise down[0]
        return failed

    @asynccontextmanager
    async def _turn(self, meter: Meter) -> AsyncIterator[None]:
        turn = self._turns.setdefault(meter, _Turn())
        turn.wanted += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.wanted -= 1
            if not turn.wanted:
                del self._turns[meter]


async def ask(api: rpc.Api, endpoints: Mapping[EndpointId, Endpoint]) -> Served:
    """What Xray itself says it serves: of these endpoints those it listens on, and their accounts."""
    there = await api.inbounds()
    listening = {key: endpoint for key, endpoint in endpoints.items() if labels.tag(key) in there}
    served: dict[Meter, Account] = {}
    for endpoint in listening:
        for email, uuid in (await api.users(labels.tag(endpoint))).items():
            parsed = labels.parse_email(email)
            if parsed and parsed[1] == endpoint:
                served[Meter(*parsed)] = Account(user=parsed[0], endpoint=endpoint, uuid=uuid)
    return Served(endpoints=listening, accounts=served)


def held(served: Served) -> dict[Meter, str]:
    """The UUIDs of what is served."""
    return {meter: account.uuid for meter, account in served.accounts.items()}
