"""What a core serves, and how it is."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.core.counting import Meter
from shared.messages import Account, Endpoint
from shared.names import EndpointId


@dataclass(frozen=True)
class Served:
    """What a driver serves, or ought to."""

    endpoints: Mapping[EndpointId, Endpoint] = field(default_factory=dict)
    accounts: Mapping[Meter, Account] = field(default_factory=dict)


@dataclass(frozen=True)
class Status:
    """State of the core: `problem` says in words why it does not serve, None when it does."""

    running: bool
    version: str | None = None
    problem: str | None = None
