"""Looks at the certificates of endpoints before their users notice: too old, too young, unreadable.

What always holds: nothing is restarted for it, since a restart makes no certificate younger; an expired one
is one incident and a problem in every heartbeat until it is replaced, one that ends in two weeks a problem
only. Certificates may be texts or files of the node; no byte of either is told.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path

from agent.core import certificates
from agent.loops import pace
from agent.loops.node import Node
from shared import endpoints
from shared.messages import Endpoint
from shared.names import EndpointId

#: Seconds between looks; a file may be renewed at any time.
CHECK_S = 60.0
#: No chain is longer; a file that is, is not one.
_MAX_BYTES = 1 << 20


class CertificatesLoop:
    """From certificates to problems and incidents."""

    def __init__(self, node: Node, *, check_s: float = CHECK_S) -> None:
        self._node = node
        self._check_s = check_s
        #: What an incident was made of already.
        self._told: set[tuple[EndpointId, str]] = set()
        self._topics: set[str] = set()

    async def once(self) -> float:
        """One look at all of them; returns the seconds until the next."""
        found = {
            key: await asyncio.to_thread(_verdict, tls, self._node.clock())
            for key, tls in _secured(self._node)
        }
        bad = {key: verdict for key, verdict in found.items() if verdict is not None}
        topics = {_topic(key) for key in bad}
        for topic in self._topics - topics:
            self._node.well(topic)
        self._topics = topics
        for key, verdict in bad.items():
            sentence = f"endpoint {key}: {verdict.sentence}"
            self._node.trouble(_topic(key), sentence)
            if verdict.kind != "soon" and (key, sentence) not in self._told:
                self._node.incident(f"certificate_{verdict.kind}", sentence)
        self._told = {(key, f"endpoint {key}: {verdict.sentence}") for key, verdict in bad.items()}
        return pace.jittered(self._check_s)

    async def run(self) -> None:
        """Look for ever."""
        await pace.forever(self._node, "certificates", self.once)


def _secured(node: Node) -> Iterator[tuple[EndpointId, endpoints.Tls]]:
    for item in list(node.holding.items.values()):
        body = item.body
        if isinstance(body, Endpoint) and isinstance(body.security, endpoints.Tls):
            yield body.endpoint, body.security


def _topic(endpoint: EndpointId) -> str:
    return f"certificate/{endpoint}"


def _verdict(tls: endpoints.Tls, at_ms: int) -> certificates.Verdict | None:
    try:
        text = tls.certificate or _read(Path(tls.certificate_file))
        return certificates.judge(certificates.validity(text), at_ms)
    except OSError as error:
        reason = f"its certificate file {tls.certificate_file} cannot be read: {error.strerror}"
        return certificates.Verdict("unreadable", reason)
    except certificates.UnreadableError as error:
        return certificates.Verdict("unreadable", str(error))


def _read(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(_MAX_BYTES).decode("ascii", errors="replace")
