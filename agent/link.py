"""The agent's only way to the collector: HTTPS, one token, messages in and out.

What always holds:
- TLS trusts exactly the CA pinned at enrolment; plain HTTP goes to this machine only.
- Every call may be repeated without harm, so a lost reply is a LinkError and its loop tries again.
- What `wire` raises ends here:

    LinkProblem
    ├── LinkError      nobody answered, or nobody sensible: try again later
    ├── RefusedError   the collector answered no, and says why
    └── RevokedError   the collector does not know this node's credentials any more
"""

import asyncio
import contextlib
import ipaddress
import random
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol, TypeVar
from urllib.parse import urlsplit

import msgspec

from agent import wire
from agent.identity import Identity
from shared.messages import (
    DesiredState,
    Heartbeat,
    HeartbeatAnswer,
    Report,
    ReportAnswer,
    Sightings,
    SightingsAnswer,
    SyncReport,
    Token,
    TokenRequest,
)

T = TypeVar("T")

_ANSWER_S = 15.0
#: Share of a token's life after which it is renewed, plus up to a tenth by chance.
_RENEW_AT = 0.7
_UNAUTHENTICATED = frozenset({401, 403})
_TRANSIENT = frozenset({408, 425, 429})
#: RFC 9110 section 15.
_GOOD, _ELSEWHERE, _SERVERS_FAULT = 200, 300, 500


class LinkProblem(Exception):  # noqa: N818 - the root of the tree; its leaves are the errors
    """The collector could not be asked or said no."""


class LinkError(LinkProblem):
    """Nobody answered, or not as the contract says; trying again later may help."""


class RefusedError(LinkProblem):
    """The collector refused this request; repeating it unchanged will not help."""

    def __init__(self, status: int, title: str, detail: str) -> None:
        super().__init__(f"the collector refused ({status}): {title}{': ' if detail else ''}{detail}")
        self.status = status


class RevokedError(LinkProblem):
    """The collector refuses this node's credentials: the node was revoked or deleted."""


class UnsafeUrlError(ValueError):
    """The collector's address cannot be used; the text says why."""


class Problem(msgspec.Struct, frozen=True):
    """RFC 9457 problem details, as far as the agent reads them."""

    title: str = ""
    detail: str = ""


def base_url(text: str) -> str:
    """The collector's address without a trailing slash. Raises UnsafeUrlError."""
    try:
        parts = urlsplit(text.strip())
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise UnsafeUrlError(f"{text!r} is not an address: {error}") from error
    if parts.scheme not in {"https", "http"} or not host:
        raise UnsafeUrlError(f"{text!r} is not an address: write https://host[:port]")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise UnsafeUrlError("the collector's address must not carry a user, a query or a fragment")
    if parts.scheme == "http" and not _is_loopback(host):
        raise UnsafeUrlError(f"plain http to {host} would show every secret on the way: use https")
    if not text.strip().isascii() or not text.strip().isprintable() or " " in text.strip():
        raise UnsafeUrlError("write the collector's address in ASCII, a name of other letters as xn--")
    return text.strip().rstrip("/")


def trust(url: str, ca_pem: str | None) -> ssl.SSLContext | None:
    """A context that trusts this CA and no other, or those of the system where there is none.

    Plain HTTP needs none; saying so here keeps the system's store out of memory. Raises LinkError.
    """
    if urlsplit(url).scheme == "http":
        return None
    try:
        # cadata given: the system's store is not loaded, which also saves a megabyte or two.
        return ssl.create_default_context(cadata=ca_pem)
    except ssl.SSLError as error:
        reason = error.reason or error
        detail = f"the collector's CA certificate cannot be used ({reason}): enrol this node again"
        raise LinkError(detail) from error


class Asking(Protocol):
    """How requests are made: `wire.Wire`, or what a test has in its place."""

    async def ask(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None, answer_s: float
    ) -> wire.Answer:
        """The answer. Raises WireError."""

    async def close(self) -> None:
        """Close the connections."""


class Link:
    """Calls of one node; safe for several loops at once."""

    def __init__(
        self,
        identity: Identity,
        *,
        over: Asking | None = None,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._identity = identity
        self._clock = clock
        self._chance = chance
        self._token: str | None = None
        self._renew_at_s = 0.0
        self._fetching = asyncio.Lock()
        self._silent = False
        self._back = asyncio.Event()
        self._node = f"/api/v1/nodes/{identity.node}"
        self._over = over or wire.Wire(base_url(identity.url), trust(identity.url, identity.ca_pem))

    async def configs(self, since: int, wait_s: int, penalty_mark: int = 0) -> DesiredState:
        """What changed since a generation; waits up to so many seconds for news. Since 0 asks for all.

        `penalty_mark` names the list of penalties that the node goes by: another one is news.
        """
        query = f"{self._node}/configs?since={since}&wait={wait_s}&penalty_mark={penalty_mark}"
        return read(await self._call("GET", query, answer_s=wait_s + _ANSWER_S), DesiredState)

    async def acknowledge(self, outcome: SyncReport) -> None:
        """Tell what became of items."""
        await self._call("POST", f"{self._node}/configs/sync", outcome)

    async def report(self, report: Report) -> ReportAnswer:
        """Send absolute totals."""
        return read(await self._call("POST", "/api/v1/usage", report), ReportAnswer)

    async def sightings(self, sightings: Sightings) -> SightingsAnswer:
        """Tell who is connected, by hashes."""
        return read(await self._call("POST", "/api/v1/nodes/sessions", sightings), SightingsAnswer)

    async def heartbeat(self, heartbeat: Heartbeat) -> HeartbeatAnswer:
        """Tell how the node is."""
        return read(await self._call("POST", "/api/v1/nodes/heartbeat", heartbeat), HeartbeatAnswer)

    async def back(self) -> None:
        """Wait until the collector answers somebody after it had failed somebody."""
        await self._back.wait()

    async def close(self) -> None:
        """Close the connections."""
        await self._over.close()

    async def _call(
        self, method: str, path: str, message: msgspec.Struct | None = None, answer_s: float = _ANSWER_S
    ) -> wire.Answer:
        token = await self._bearer()
        response = await self._send(method, path, message, token, answer_s)
        if response.status in _UNAUTHENTICATED:
            # The token may have been outlived by a restored collector; whether the node is revoked
            # is for the token endpoint to say.
            token = await self._bearer(instead_of=token)
            response = await self._send(method, path, message, token, answer_s)
        check(response)
        return response

    async def _bearer(self, instead_of: str | None = None) -> str:
        async with self._fetching:
            worn = self._token is None or self._token == instead_of or self._clock() >= self._renew_at_s
            if worn or self._token is None:
                self._token = await self._fetch()
            return self._token

    async def _fetch(self) -> str:
        asked_s = self._clock()
        credentials = TokenRequest(
            client_id=self._identity.client_id, client_secret=self._identity.client_secret
        )
        response = await self._send("POST", "/api/v1/auth/token", credentials, None, _ANSWER_S)
        if response.status in _UNAUTHENTICATED and _is_problem(response):
            self._token = None
            raise RevokedError("the collector refuses this node's credentials: it was revoked or deleted")
        check(response)
        token = read(response, Token)
        self._renew_at_s = asked_s + token.expires_in * (_RENEW_AT + 0.1 * self._chance())
        return token.access_token

    async def _send(
        self, method: str, path: str, message: msgspec.Struct | None, token: str | None, answer_s: float
    ) -> wire.Answer:
        headers = {"Content-Type": "application/json"} if message is not None else {}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        try:
            with translated():
                body = None if message is None else msgspec.json.encode(message)
                response = await self._over.ask(method, path, headers, body, answer_s)
        except LinkError:
            self._silent = True
            raise
        self._heard(response)
        return response

    def _heard(self, response: wire.Answer) -> None:
        if response.status >= _SERVERS_FAULT:
            self._silent = True
        elif self._silent:
            self._silent = False
            self._back.set()
            self._back = asyncio.Event()


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Turn what `wire` raises into LinkError."""
    try:
        yield
    except wire.SilentError as error:
        raise LinkError("the collector did not answer in time") from error
    except wire.WireError as error:
        raise LinkError(f"the collector cannot be reached: {error}") from error


def check(response: wire.Answer) -> None:
    """Raise what an unsuccessful answer means: LinkError when trying again may help, else RefusedError."""
    status = response.status
    if _GOOD <= status < _ELSEWHERE:
        return
    if not _is_problem(response) or status >= _SERVERS_FAULT or status in _TRANSIENT:
        raise LinkError(f"the collector, or something before it, answered {status}")
    problem = _problem(response)
    raise RefusedError(status, problem.title, problem.detail)


def _is_problem(response: wire.Answer) -> bool:
    # Only the collector speaks so; a 403 of some middle box must never end the service.
    return response.headers.get("content-type", "").startswith("application/problem+json")


def _problem(response: wire.Answer) -> Problem:
    try:
        return msgspec.json.decode(response.body, type=Problem)
    except msgspec.MsgspecError:
        return Problem(title="without a reason")


def read(response: wire.Answer, kind: type[T]) -> T:
    """The message of an answer. Raises LinkError."""
    try:
        return msgspec.json.decode(response.body, type=kind)
    except msgspec.MsgspecError as error:
        raise LinkError(f"the collector's answer cannot be understood: {error}") from error


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
