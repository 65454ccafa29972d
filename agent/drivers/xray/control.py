"""Asks the host which connections belong to whom (`watch` answers).

What always holds: a question has a deadline; an answer is addresses in memory, to be acted on and forgotten.
"""

import asyncio
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.drivers import base
from agent.drivers.xray.sockets import Peer

_DEADLINE_S = 2.0
_MAX_ANSWER_BYTES = 64 << 20


@dataclass(frozen=True)
class Known:
    """What the host knows of accounts: connections, clients on UDP, and whom a connection carries besides."""

    streams: Mapping[str, frozenset[Peer]] = field(default_factory=dict)
    datagrams: Mapping[str, frozenset[Peer]] = field(default_factory=dict)
    sharers: Mapping[str, Mapping[Peer, frozenset[str]]] = field(default_factory=dict)


class Control:
    """The host of one running Xray."""

    def __init__(self, socket_path: Path) -> None:
        self._path = socket_path

    async def known(self, emails: Iterable[str] | None) -> Known:
        """What is known of these accounts, or of all. Raises DriverError when the host does not answer.

        A host of an earlier version knows of connections only, and so does one without others.
        """
        asked = None if emails is None else list(emails)
        answer = await self._ask({"op": "connections", "emails": asked})
        sharers = {
            email: {_peer(text): frozenset(others) for text, others in peers.items()}
            for email, peers in answer.get("shared", {}).items()
        }
        return Known(_peers(answer["connections"]), _peers(answer.get("datagrams", {})), sharers)

    async def rates(
        self, wanted: Mapping[str, tuple[int | None, int | None]] | None = None
    ) -> dict[str, tuple[int | None, int | None]]:
        """Hold exactly these accounts to these rates, in kbit/s up and down, if any are given; what is held.

        Raises DriverError when the host does not answer or its kernel refuses.
        """
        answer = await self._ask({"op": "rates", "rates": wanted})
        if answer["problem"]:
            raise base.DriverError(f"speed limits are not kept: {answer['problem']}")
        return {email: (up, down) for email, (up, down) in answer["rates"].items()}

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


def _peer(text: str) -> Peer:
    return Peer(bytes.fromhex(text))


def _peers(texts: Mapping[str, Iterable[str]]) -> dict[str, frozenset[Peer]]:
    return {email: frozenset(map(_peer, of_him)) for email, of_him in texts.items()}
