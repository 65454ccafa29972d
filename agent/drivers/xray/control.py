"""Asks the host which connections belong to whom (`watch` answers).

What always holds: a question has a deadline; an answer is addresses in memory, to be acted on and forgotten.
"""

import asyncio
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from agent.drivers import base
from agent.drivers.xray.sockets import Peer

_DEADLINE_S = 2.0
_MAX_ANSWER_BYTES = 64 << 20


class Control:
    """The host of one running Xray."""

    def __init__(self, socket_path: Path) -> None:
        self._path = socket_path

    async def connections(self, emails: Iterable[str] | None) -> dict[str, frozenset[Peer]]:
        """The connections of these accounts, or of all. Raises DriverError when the host does not answer."""
        asked = None if emails is None else list(emails)
        answer = await self._ask({"op": "connections", "emails": asked})
        return {
            email: frozenset(Peer(bytes.fromhex(peer)) for peer in peers)
            for email, peers in answer["connections"].items()
        }

    async def stats(self) -> dict[str, int]:
        """Counts of what the host has seen. Raises DriverError when it does not answer."""
        return dict(await self._ask({"op": "stats"}))

    async def fenced(self) -> bool:
        """Whether the host has cut everybody off; one of an earlier version never does, it ends itself."""
        return bool((await self.stats()).get("fenced"))

    async def _ask(self, question: dict[str, object]) -> dict[str, Any]:
        try:
            async with asyncio.timeout(_DEADLINE_S):
                line = await self._exchange(json.dumps(question).encode() + b"\n")
            answer = json.loads(line)
        except (OSError, ValueError, EOFError) as error:
            raise base.DriverError("the host of Xray does not answer") from error
        if "error" in answer:
            raise base.DriverError(f"the host of Xray refused: {answer['error']}")
        return dict(answer)

    async def _exchange(self, line: bytes) -> bytes:
        reader, writer = await asyncio.open_unix_connection(self._path, limit=_MAX_ANSWER_BYTES)
        try:
            writer.write(line)
            return await reader.readuntil(b"\n")
        finally:
            writer.close()
