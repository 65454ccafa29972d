"""What is counted: a user on an endpoint, in bytes of payload, by one process of the core."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from shared.names import EndpointId, UserId


class Meter(NamedTuple):
    """One user on one endpoint: the smallest thing that is counted."""

    user: UserId
    endpoint: EndpointId


class Count(NamedTuple):
    """Payload bytes as the core counted them, from the user's side: up is what he sent."""

    up: int
    down: int


@dataclass(frozen=True)
class Reading:
    """All counters of one process at one moment. A meter that never carried a byte may be missing.

    `source` names what counts beyond the end of that process: its next one has the same.
    """

    generation: str
    counts: Mapping[Meter, Count]
    source: str = ""
