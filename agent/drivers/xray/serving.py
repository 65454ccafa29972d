"""The accounts of one running Xray: adds, replaces and blocks them over its API.

What always holds: the roll is what Xray serves as far as we know and changes only after Xray has answered;
of one account only one call is under way; a block that comes while a long add is under way wins: the account
is not served when both have returned. An account is sent in the form of its endpoint's kind only.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from agent.core.counting import Meter
from agent.core.served import Served
from agent.drivers import base
from agent.drivers.xray import accounts, kinds, labels, rpc
from shared.messages import Account, Endpoint
from shared.names import EndpointId

#: Calls under way at once; more do not make Xray faster (measured: 64 give 6,000 users/s on two cores).
IN_FLIGHT = 64
#: Copies of one account that are looked for, where Xray makes copies without a word.
_COPIES = 16


@dataclass
class _Turn:
    """Whose turn it is with one account, and how many want one."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    wanted: int = 0


class Serving:
    """What one Xray serves and how to change it."""

    def __init__(self, api: rpc.Api, roll: accounts.Roll) -> None:
        self.roll = roll
        self._api = api
        self._withdrawn: list[set[Meter]] = []
        self._turns: dict[Meter, _Turn] = {}
        self._doubtful: set[Meter] = set()

    async def add(self, wanted: Sequence[Account]) -> dict[Meter, str]:
        """Serve these too; returns the refused with the reason. One with another secret is replaced."""
        planned = accounts.plan(self.roll, wanted)
        withdrawn: set[Meter] = set()

        async def add(meter: Meter) -> None:
            if meter in withdrawn:
                raise base.DriverError("it was blocked meanwhile")
            await self._add(meter, planned.add[meter])

        self._withdrawn.append(withdrawn)
        try:
            failed = await self._each(planned.remove, self._remove)
            failed |= await self._each([meter for meter in planned.add if meter not in failed], add)
        finally:
            # By identity: two adds under way may have equal sets.
            self._withdrawn = [other for other in self._withdrawn if other is not withdrawn]
        return {**planned.refused, **failed}

    async def block(self, meters: Collection[Meter]) -> dict[Meter, str]:
        """Refuse new connections of these; returns those that could not be blocked with the reason."""
        for withdrawn in self._withdrawn:
            withdrawn.update(meters)
        return await self._each([m for m in meters if m.endpoint in self.roll.endpoints], self._remove)

    async def served(self) -> Served:
        """What Xray itself says it serves."""
        return await ask(self._api, self.roll)

    async def _add(self, meter: Meter, candidate: accounts.Candidate) -> None:
        tag, email, login = labels.tag(meter.endpoint), labels.email(*meter), candidate.login
        if login.kind in kinds.SILENT and not await self._vacant(meter, login):
            self.roll.put(*candidate)
            return
        self._doubtful.add(meter)  # until Xray has answered nobody knows whether it is there
        added = await self._api.add_user(tag, email, login)
        if not added and await self._api.users(tag, email) != [(email, login)]:
            await self._remove(meter)
            await self._api.add_user(tag, email, login)
        self._doubtful.discard(meter)
        self.roll.put(*candidate)

    async def _vacant(self, meter: Meter, login: kinds.Login) -> bool:
        """Where Xray does not say that an account is there already: make room, unless it is this very one."""
        if meter in self.roll.accounts and meter not in self._doubtful:
            tag, email = labels.tag(meter.endpoint), labels.email(*meter)
            if await self._api.users(tag, email) == [(email, login)]:
                return False
        if meter in self.roll.accounts or meter in self._doubtful:
            await self._remove(meter)
        return True

    async def _remove(self, meter: Meter) -> None:
        tag, email = labels.tag(meter.endpoint), labels.email(*meter)
        endpoint = self.roll.endpoints.get(meter.endpoint)
        await self._api.remove_user(tag, email)
        if endpoint is not None and kinds.kind(endpoint) in kinds.SILENT:
            await self._remove_copies(tag, email)
        self._doubtful.discard(meter)
        self.roll.drop(meter)

    async def _remove_copies(self, tag: str, email: str) -> None:
        for _ in range(_COPIES):
            if not await self._api.users(tag, email):
                return
            await self._api.remove_user(tag, email)
        raise base.DriverError("Xray has too many copies of this account to remove them all")

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


async def ask(api: rpc.Api, known: accounts.Roll) -> Served:
    """What Xray itself says it serves: of the known endpoints those it listens on, and their accounts.

    An account that Xray knows by what we know it by is the very one we know; of another one its UUID is told,
    as far as its login tells it.
    """
    there = await api.inbounds()
    listening = {key: one for key, one in known.endpoints.items() if labels.tag(key) in there}
    served: dict[Meter, Account] = {}
    for key in listening:
        served |= matched(await api.users(labels.tag(key)), key, known)
    return Served(endpoints=listening, accounts=served)


def matched(
    found: Iterable[tuple[str, kinds.Login | None]], endpoint: EndpointId, known: accounts.Roll
) -> dict[Meter, Account]:
    """The accounts of one endpoint out of what Xray has there; one that is there twice is nobody's."""
    served: dict[Meter, Account] = {}
    for email, login in found:
        parsed = labels.parse_email(email)
        if parsed is None or parsed[1] != endpoint:
            continue
        meter = Meter(*parsed)
        if meter not in served and login is not None and known.login(meter) == login:
            served[meter] = known.accounts[meter]
        else:
            text = kinds.identity(login) if login and meter not in served else ""
            served[meter] = Account(user=meter.user, endpoint=endpoint, uuid=text)
    return served


async def mistaken(api: rpc.Api, endpoints: Mapping[EndpointId, Endpoint]) -> frozenset[EndpointId]:
    """Those of these endpoints whose inbound is of another kind than they are: no account may go there."""
    types = await api.inbound_types()
    return frozenset(
        key
        for key, endpoint in endpoints.items()
        if types.get(labels.tag(key), kinds.INBOUND_TYPES[kinds.kind(endpoint)])
        != kinds.INBOUND_TYPES[kinds.kind(endpoint)]
    )
