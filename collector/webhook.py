"""Posts to the operator's receiver of events, over a connection of its own for each batch.

Sockets of the loop, not a thread with http.client: a stop must not wait for a receiver that is slow. What
always holds: one attempt takes at most its time; only a 2xx counts as arrived; no redirect is followed.
"""

import asyncio
import ssl
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass

from collector.domain import webhooks

_ATTEMPT_S = 15.0
_HTTPS_PORT, _HTTP_PORT = 443, 80
_GOOD = range(200, 300)


class WebhookError(Exception):
    """A batch has not arrived; the text says why, without the URL's path, which may be a secret."""


@dataclass(frozen=True, kw_only=True)
class Receiver:
    """Where batches go, the secret that signs them, and whose certificates are trusted there.

    `now_ms` is the clock of the signature.
    """

    url: str
    secret: str
    now_ms: Callable[[], int]
    trust: ssl.SSLContext

    async def post(self, content: bytes) -> None:
        """Post one batch. Raises WebhookError when it has not arrived."""
        try:
            async with asyncio.timeout(_ATTEMPT_S):
                status = await self._exchange(content)
        except TimeoutError:
            raise WebhookError(f"no answer within {_ATTEMPT_S:.0f} s") from None
        except (OSError, asyncio.IncompleteReadError, ValueError) as error:
            raise WebhookError(f"{type(error).__name__}: {error}") from None
        if status not in _GOOD:
            raise WebhookError(f"it answered {status}; answer 2xx once a batch is kept")

    async def _exchange(self, content: bytes) -> int:
        parts = urllib.parse.urlsplit(self.url)
        trust = self.trust if parts.scheme == "https" else None
        port = parts.port or (_HTTPS_PORT if trust else _HTTP_PORT)
        reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=trust)
        try:
            writer.write(self._head(parts, content) + content)
            await writer.drain()
            version, status, *_ = (await reader.readline()).split(maxsplit=2)
            if not version.startswith(b"HTTP/1."):
                raise ValueError("it does not speak HTTP/1.1")
            return int(status)
        finally:
            writer.close()

    def _head(self, parts: urllib.parse.SplitResult, content: bytes) -> bytes:
        signed = webhooks.signature(self.secret, self.now_ms() // 1000, content)
        lines = (
            f"POST {parts.path or '/'} HTTP/1.1",
            f"Host: {parts.netloc}",
            "Content-Type: application/json",
            f"Content-Length: {len(content)}",
            f"{webhooks.SIGNATURE}: {signed}",
            "Connection: close",
        )
        return "\r\n".join([*lines, "", ""]).encode("ascii")
