"""Who calls: a bearer token turned into an actor whose credential still stands.

What always holds: a token of a revoked node, a removed admin or a manager who lost his login is refused
within a second of the commit, in every process; a fresh credential is accepted at once.
"""

import time
from collections.abc import Callable

from collector import tokens
from collector.app import admins, enrolment, managers
from collector.domain.access import NOBODY, Actor, Role
from collector.domain.refusals import Kind, Refused
from collector.fronts.rest.transactions import Transactions
from shared.names import NodeId

#: How long a credential that stood is believed to stand.
_BELIEVED_S = 1.0

_NO_CALLER = tokens.Bearer(NOBODY, 0)


class Callers:
    """Checks tokens against the database, through a short memory."""

    def __init__(
        self, data: Transactions, key: bytes, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._data = data
        self._key = key
        self._monotonic_s = monotonic_s
        self._stood: dict[tokens.Bearer, float] = {}

    def token(self, caller: tokens.Bearer, now_ms: int) -> str:
        """A token for a caller who has proved who he is."""
        return tokens.issue(self._key, caller, now_ms)

    async def admit(self, roles: frozenset[Role], bearer: str | None) -> tokens.Bearer:
        """The caller, if he has one of these roles. Raises Refused."""
        if Role.NOBODY in roles:
            return _NO_CALLER
        if bearer is None:
            raise _refused(
                "send an access token as 'Authorization: Bearer TOKEN'; /api/v1/auth/token gives one"
            )
        caller = tokens.read(self._key, bearer)
        if self._monotonic_s() - self._stood.get(caller, float("-inf")) > _BELIEVED_S:
            await self.confirm(caller)
        if caller.actor.role not in roles:
            wanted = " or ".join(sorted(role.value for role in roles))
            raise Refused(Kind.FORBIDDEN, f"this is for callers of the role {wanted} only")
        return caller

    async def confirm(self, caller: tokens.Bearer) -> None:
        """Ask the database whether the credential still stands. Raises Refused when it does not."""
        asked_s = self._monotonic_s()
        stands = await self._stands(caller)
        self._stood.pop(caller, None)
        if not stands:
            raise _refused("this credential is no longer valid: it was revoked or replaced")
        self._forget_old(asked_s)
        self._stood[caller] = asked_s

    def forget(self, actor: Actor) -> None:
        """Ask again at this caller's next request."""
        for caller in [one for one in self._stood if one.actor == actor]:
            del self._stood[caller]

    def forget_all(self) -> None:
        """Ask again at everybody's next request."""
        self._stood.clear()

    async def _stands(self, caller: tokens.Bearer) -> bool:
        if caller.actor.role is Role.ADMIN:
            return await self._data.read(admins.standing, caller.actor.id) == caller.credential
        if caller.actor.manager is not None:
            return await self._data.read(managers.standing, caller.actor.manager) == caller.credential
        standing = await self._data.read(enrolment.standing, NodeId(caller.actor.id))
        return standing is not None and not standing.revoked and standing.credential == caller.credential

    def _forget_old(self, now_s: float) -> None:
        # Entries are in the order they were asked, so the old ones are in front.
        while self._stood:
            oldest = next(iter(self._stood))
            if now_s - self._stood[oldest] <= _BELIEVED_S:
                break
            del self._stood[oldest]


def _refused(detail: str) -> Refused:
    return Refused(Kind.UNAUTHENTICATED, detail)
