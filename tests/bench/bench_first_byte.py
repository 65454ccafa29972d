"""From the API call that makes a user to the first byte that reaches him, by long poll; no restart, no wait.

The client runs beforehand with the credential that the call will make valid, and tries again and again.
"""

import statistics
import time
import uuid

from tests.bench.asked import Asked
from tests.bench.figure import Figure
from tests.kit import clients, download, fleet

_USERS = 10
_GOAL_MS = 300.0
_PATIENCE_S = 10.0


def measure(_asked: Asked) -> list[Figure]:
    """Median and worst of ten users."""
    with fleet.opened(("home",)) as everything:
        everything.served(everything.add_user("first"))
        taken_ms = [_first_byte_ms(everything, f"user-{number}") for number in range(_USERS)]
    return [
        _figure("user made to his first byte, median", statistics.median(taken_ms), _GOAL_MS),
        _figure("user made to his first byte, worst", max(taken_ms), None),
    ]


def _first_byte_ms(everything: fleet.Fleet, name: str) -> float:
    credential = str(uuid.uuid4())
    way = everything.way(credential)
    place = everything.lab["home"]
    client = clients.start(everything.running, name, "sing-box", place=place, way=way)
    began_s = time.monotonic()
    everything.add_user(name, uuid=credential)
    while not _gets_a_byte(everything, client):
        if time.monotonic() - began_s > _PATIENCE_S:
            raise TimeoutError(f"{name} was not served within {_PATIENCE_S:g} s")
    taken_s = time.monotonic() - began_s
    client.program.stop()
    return taken_s * 1000


def _gets_a_byte(everything: fleet.Fleet, client: clients.Client) -> bool:
    host, _, port = everything.source.rpartition(":")
    transfer = download.Transfer(silent=True)
    proxy = ("127.0.0.1", client.socks_port)
    with client.place.inside():
        connection = download.connect(proxy, (host, int(port)), timeout_s=_PATIENCE_S)
    with connection:
        return download.fetch(connection, "/bytes/1", transfer) == "complete"


def _figure(name: str, value_ms: float, goal_ms: float | None) -> Figure:
    return Figure(name=name, value=round(value_ms, 1), unit="ms", goal=goal_ms)
