"""The part of Xray's gRPC API the driver uses, over a unix socket.

What always holds: every call has a deadline; Xray's errors leave here as `DriverError`, or as one of its
kinds; an account is sent as what it is (`typed`), to an inbound that the caller knows to be of its kind;
counters cannot be reset, since the request has no such field here. Xray answers most refusals as UNKNOWN with
a text, so texts are compared, without case.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from google.protobuf.message import DecodeError, Message

from agent.drivers import base
from agent.drivers.xray import calls, connection, kinds, typed
from agent.drivers.xray import xray_pb2 as pb

ALTER_DEADLINE_S = 10.0
READ_DEADLINE_S = 10.0
#: Ten thousand accounts of Trojan take two seconds.
INBOUND_DEADLINE_S = 30.0
STATUS_DEADLINE_S = 1.0

Answer = TypeVar("Answer", bound=Message)

_HANDLER = "/xray.app.proxyman.command.HandlerService/"
_STATS = "/xray.app.stats.command.StatsService/"
_DOWN = ("unavailable", "cancelled")


class _MissingError(base.DriverError):
    """Xray has no counter of that name."""


class Api:
    """A connection to one running Xray; of no use any more once that process has ended."""

    #: Whether it can be asked who is online.
    tells_online = True

    def __init__(self, socket_path: Path, spelled: Callable[[str], str] = str) -> None:
        """`spelled` is what the core calls what Xray calls so."""
        self._channel = calls.Channel(socket_path)

        def method(path: str, answer: type[Answer]) -> _Method[Answer]:
            return _Method(self._channel, connection.head(spelled(path)), answer)

        self._alter = method(_HANDLER + "AlterInbound", pb.Empty)
        self._remove_inbound = method(_HANDLER + "RemoveInbound", pb.Empty)
        self._add_inbound = method(_HANDLER + "AddInbound", pb.Empty)
        self._list_inbounds = method(_HANDLER + "ListInbounds", pb.ListInboundsResponse)
        self._inbound_users = method(_HANDLER + "GetInboundUsers", pb.InboundUsersResponse)
        self._online_ips = method(_STATS + "GetStatsOnlineIpList", pb.OnlineIpsResponse)
        self._online_users = method(_STATS + "GetAllOnlineUsers", pb.OnlineUsersResponse)
        self._sys = method(_STATS + "GetSysStats", pb.SysStatsResponse)
        self._query = method(_STATS + "QueryStats", pb.QueryStatsResponse)

    async def close(self) -> None:
        """Let go of the connection; calls under way end as CoreDownError."""
        self._channel.close()

    async def add_user(self, tag: str, email: str, login: kinds.Login) -> bool:
        """Add an account; False when that e-mail is there already, with whatever secret.

        Kinds that are `kinds.SILENT` never say so. The inbound must be of the login's kind.
        """
        operation = typed.wrapped(
            "xray.app.proxyman.command.AddUserOperation", pb.AddUserOperation(user=typed.user(email, login))
        )
        return await self._altered(tag, operation, unless="already exists")

    async def remove_user(self, tag: str, email: str) -> bool:
        """Remove an account; False when it was not there. Its connections live on."""
        operation = typed.wrapped(
            "xray.app.proxyman.command.RemoveUserOperation", pb.RemoveUserOperation(email=email)
        )
        return await self._altered(tag, operation, unless="not found")

    async def add_inbound(self, inbound: pb.InboundHandler) -> None:
        """Listen there from now on. One that fails may have left its tag behind: remove that."""
        await _answer(self._add_inbound, pb.AddInboundRequest(inbound=inbound), INBOUND_DEADLINE_S)

    async def remove_inbound(self, tag: str) -> None:
        """Close a listener for good; its connections live on. Raises DriverError when there is none."""
        await _answer(self._remove_inbound, pb.RemoveInboundRequest(tag=tag), ALTER_DEADLINE_S)

    async def inbounds(self) -> frozenset[str]:
        """Tags of the inbounds there are."""
        answer = await _answer(self._list_inbounds, pb.ListInboundsRequest(only_tags=True), READ_DEADLINE_S)
        return frozenset(inbound.tag for inbound in answer.inbounds)

    async def inbound_types(self) -> dict[str, str]:
        """The type of each inbound's own settings, by tag."""
        return {inbound.tag: inbound.proxy_settings.type for inbound in await self.whole_inbounds()}

    async def whole_inbounds(self) -> Sequence[pb.InboundHandler]:
        """The inbounds as they were added, with the accounts they had then: many megabytes, perhaps."""
        answer = await _answer(self._list_inbounds, pb.ListInboundsRequest(), READ_DEADLINE_S)
        return list(answer.inbounds)

    async def users(self, tag: str, email: str = "") -> list[tuple[str, kinds.Login | None]]:
        """The accounts of one inbound by e-mail, or that of one e-mail; None is a login of unknown kind."""
        request = pb.InboundUsersRequest(tag=tag, email=email)
        answer = await _answer(self._inbound_users, request, READ_DEADLINE_S)
        return [(user.email, typed.login(user)) for user in answer.users if user.email]

    async def counters(self, pattern: str) -> Iterable[pb.Stat]:
        """All counters whose names hold this, under Xray's names for them, in no order."""
        answer = await _answer(self._query, pb.QueryStatsRequest(pattern=pattern), READ_DEADLINE_S)
        stats: Iterable[pb.Stat] = answer.stat
        return stats

    async def online_users(self) -> frozenset[str]:
        """E-mails that have a connection from anywhere but the loopback address itself."""
        answer = await _answer(self._online_users, pb.Empty(), READ_DEADLINE_S)
        return frozenset(name.split(">>>")[1] for name in answer.users if name.count(">>>") == 2)  # noqa: PLR2004

    async def online_ips(self, email: str) -> tuple[str, ...]:
        """From which addresses an account is connected; IPv6 without brackets. Never to be logged."""
        try:
            answer = await _answer(self._online_ips, _online(email), READ_DEADLINE_S)
        except _MissingError:
            return ()
        return tuple(address.strip("[]") for address in answer.ips)

    async def uptime_s(self, deadline_s: float = STATUS_DEADLINE_S, *, wait: bool = False) -> int:
        """Seconds since Xray's start: the cheapest question, so the test of life. `wait` for it to listen."""
        return int((await _answer(self._sys, pb.Empty(), deadline_s, wait=wait)).uptime_s)

    async def _altered(self, tag: str, operation: pb.TypedMessage, *, unless: str) -> bool:
        try:
            await _answer(self._alter, pb.AlterInboundRequest(tag=tag, operation=operation), ALTER_DEADLINE_S)
        except base.CoreDownError:
            raise
        except base.DriverError as error:
            if unless in str(error).lower():
                return False
            raise
        return True


def _online(email: str) -> pb.StatsRequest:
    return pb.StatsRequest(name=f"user>>>{email}>>>online")


@dataclass(frozen=True)
class _Method(Generic[Answer]):
    """One method of the API."""

    channel: calls.Channel
    head: bytes
    answer: type[Answer]


async def _answer(
    method: _Method[Answer], request: Message, deadline_s: float, *, wait: bool = False
) -> Answer:
    try:
        answer = await method.channel.call(method.head, request.SerializeToString(), deadline_s, wait=wait)
        return method.answer.FromString(answer)
    except TimeoutError:
        raise base.DriverError(f"Xray did not answer within {deadline_s:g} s") from None
    except connection.RefusedError as refusal:
        raise _translated(refusal) from None
    except DecodeError:
        raise base.DriverError("Xray gave an answer that cannot be read") from None


def _translated(refusal: connection.RefusedError) -> base.DriverError:
    if refusal.code in _DOWN:
        return base.CoreDownError("Xray cannot be reached")
    if refusal.code == "not_found":
        return _MissingError(refusal.text or "not found")
    if refusal.code == "unimplemented":
        return base.RestartNeededError("the core is too old to be changed while it runs")
    return base.DriverError(f"Xray refused: {refusal.text or refusal.code}")
