"""The API of a core that cannot be asked what it serves (V2Ray 4): what it was told is remembered instead.

What always holds: whatever the core has answered is remembered and nothing else, so what is said of it here
is what it serves, as long as nobody else changes it; who is online is not known and is said to be nobody.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from agent.core.served import Served
from agent.drivers import base
from agent.drivers.xray import control, dialects, kinds, labels, rpc, sockets
from agent.drivers.xray import xray_pb2 as pb
from shared.names import EndpointId


class QuietApi(rpc.Api):
    """A connection to such a core."""

    tells_online = False

    def __init__(self, socket_path: Path, dialect: dialects.Dialect) -> None:
        super().__init__(socket_path, dialect.name)
        self._dialect = dialect
        self._users: dict[str, dict[str, kinds.Login]] = {}

    def remember(self, served: Served) -> None:
        """Take it from whoever started the core that it serves this."""
        self._users = {labels.tag(key): {} for key in served.endpoints}
        for meter, account in served.accounts.items():
            login = kinds.login(account, served.endpoints[meter.endpoint])
            self._users[labels.tag(meter.endpoint)][labels.email(*meter)] = login

    async def live(self) -> bool:
        """Whether accounts can be changed while it runs."""
        try:
            await super().remove_user("", "")
        except base.RestartNeededError:
            return False
        except base.DriverError:
            return True  # it has the call, and no such inbound
        return True

    async def add_user(self, tag: str, email: str, login: kinds.Login) -> bool:
        """Add an account; False when that e-mail is there already."""
        added = await super().add_user(tag, email, login)
        if added:
            self._users.setdefault(tag, {})[email] = login
        return added

    async def remove_user(self, tag: str, email: str) -> bool:
        """Remove an account; False when it was not there."""
        removed = await super().remove_user(tag, email)
        self._users.get(tag, {}).pop(email, None)
        return removed

    async def remove_inbound(self, tag: str) -> None:
        """Close a listener for good."""
        await super().remove_inbound(tag)
        self._users.pop(tag, None)

    async def inbounds(self) -> frozenset[str]:
        """Tags of the inbounds there are."""
        return frozenset(self._users)

    async def inbound_types(self) -> dict[str, str]:
        """Nothing is known of their types."""
        return {}

    async def users(self, tag: str, email: str = "") -> list[tuple[str, kinds.Login | None]]:
        """The accounts of one inbound by e-mail, or that of one e-mail."""
        found = self._users.get(tag, {})
        return [(name, login) for name, login in found.items() if email in ("", name)]

    async def online_users(self) -> frozenset[str]:
        """Nobody is known to be online."""
        return frozenset()

    async def online_ips(self, email: str) -> tuple[str, ...]:  # noqa: ARG002 - as in the one it replaces
        """Nobody is known to be online."""
        return ()

    async def _altered(self, tag: str, operation: pb.TypedMessage, *, unless: str) -> bool:
        return await super()._altered(tag, self._spelled(operation), unless=unless)

    def _spelled(self, operation: pb.TypedMessage) -> pb.TypedMessage:
        """The operation with the core's own names for it and for the account in it."""
        value = operation.value
        if operation.type.endswith(".AddUserOperation"):
            added = pb.AddUserOperation.FromString(value)
            added.user.account.type = self._dialect.name(added.user.account.type)
            value = added.SerializeToString()
        return pb.TypedMessage(type=self._dialect.name(operation.type), value=value)


async def unnamed(host: control.Control, ports: Mapping[EndpointId, int]) -> bool:
    """Whether there are connections of which the host was not told whose they are. Raises DriverError."""
    live = await asyncio.to_thread(
        lambda: [one for port in ports.values() for one in sockets.connections(port)]
    )
    # Asked after the list was taken: whoever is in the list had the longest time to be named.
    known = (await host.known(None)).streams
    owned = {peer for peers in known.values() for peer in peers}
    return any(one.peer not in owned for one in live)
