"""The part of Xray's gRPC API the driver uses, over a unix socket.

What always holds: every call has a deadline; Xray's errors leave here as `DriverError`, or as one of its
kinds; an account is sent as what it is (`typed`), to an inbound that the caller knows to be of its kind;
counters cannot be reset, since the request has no such field here. Xray answers most refusals as UNKNOWN with
a text, so texts are compared, without case.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message

from agent.drivers import base
from agent.drivers.xray import kinds, typed
from agent.drivers.xray import xray_pb2 as pb

#: Answers about 50,000 users take 5 MB; gRPC's own limit of 4 MB would be hit at 40,000.
MAX_ANSWER_BYTES = 64 << 20
ALTER_DEADLINE_S = 10.0
READ_DEADLINE_S = 10.0
#: Ten thousand accounts of Trojan take two seconds.
INBOUND_DEADLINE_S = 30.0
STATUS_DEADLINE_S = 1.0

Answer = TypeVar("Answer")

_HANDLER = "/xray.app.proxyman.command.HandlerService/"
_STATS = "/xray.app.stats.command.StatsService/"
_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_ANSWER_BYTES),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.use_local_subchannel_pool", 1),
)
_DOWN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


class _MissingError(base.DriverError):
    """Xray has no counter of that name."""


class Api:
    """A connection to one running Xray; of no use any more once that process has ended."""

    #: Whether it can be asked who is online.
    tells_online = True

    def __init__(self, socket_path: Path, spelled: Callable[[str], str] = str) -> None:
        """`spelled` is what the core calls what Xray calls so."""
        self._channel = grpc.aio.insecure_channel(f"unix:{socket_path}", options=_OPTIONS)

        def method(path: str, *codecs: Any) -> Any:  # noqa: ANN401 - as grpc has it
            return self._channel.unary_unary(spelled(path), *codecs)

        alter = pb.AlterInboundRequest.SerializeToString
        self._alter = method(_HANDLER + "AlterInbound", alter, pb.Empty.FromString)
        self._remove_inbound = method(
            _HANDLER + "RemoveInbound", pb.RemoveInboundRequest.SerializeToString, pb.Empty.FromString
        )
        self._add_inbound = method(
            _HANDLER + "AddInbound", pb.AddInboundRequest.SerializeToString, pb.Empty.FromString
        )
        self._list_inbounds = method(
            _HANDLER + "ListInbounds",
            pb.ListInboundsRequest.SerializeToString,
            pb.ListInboundsResponse.FromString,
        )
        self._inbound_users = method(
            _HANDLER + "GetInboundUsers",
            pb.InboundUsersRequest.SerializeToString,
            pb.InboundUsersResponse.FromString,
        )
        stats = pb.StatsRequest.SerializeToString
        self._online_ips = method(_STATS + "GetStatsOnlineIpList", stats, pb.OnlineIpsResponse.FromString)
        empty = pb.Empty.SerializeToString
        self._online_users = method(_STATS + "GetAllOnlineUsers", empty, pb.OnlineUsersResponse.FromString)
        self._sys = method(_STATS + "GetSysStats", empty, pb.SysStatsResponse.FromString)
        self._query = method(
            _STATS + "QueryStats", pb.QueryStatsRequest.SerializeToString, pb.QueryStatsResponse.FromString
        )

    async def close(self) -> None:
        """Let go of the connection; calls under way end as CoreDownError."""
        await self._channel.close(None)

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

    async def counters(self) -> Iterable[pb.Stat]:
        """All counters of users, under Xray's names for them, in no order."""
        answer = await _answer(self._query, pb.QueryStatsRequest(pattern="user>>>"), READ_DEADLINE_S)
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


async def _answer(
    method: grpc.aio.UnaryUnaryMultiCallable[Any, Answer],
    request: Message,
    deadline_s: float,
    *,
    wait: bool = False,
) -> Answer:
    try:
        return await method(request, timeout=deadline_s, wait_for_ready=wait)
    except grpc.aio.AioRpcError as error:
        raise _translated(error, deadline_s) from None
    except grpc.aio.UsageError:
        raise base.CoreDownError("the connection to Xray has been closed") from None
    except asyncio.CancelledError:
        # A call under way is also cancelled when another task closes the channel; ours is not meant then.
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise base.CoreDownError("the connection to Xray was closed meanwhile") from None


def _translated(error: grpc.aio.AioRpcError, deadline_s: float) -> base.DriverError:
    code = error.code()
    if code in _DOWN:
        return base.CoreDownError("Xray cannot be reached")
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return base.DriverError(f"Xray did not answer within {deadline_s:g} s")
    if code is grpc.StatusCode.NOT_FOUND:
        return _MissingError(error.details() or "not found")
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return base.RestartNeededError("the core is too old to be changed while it runs")
    return base.DriverError(f"Xray refused: {error.details() or code.name.lower()}")
