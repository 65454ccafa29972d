"""What every driver promises to the loops.

What always holds:
- Counters are read, never reset: a lost answer loses nothing.
- A `Reading` names the generation of the process that counted. Counters of one generation began at zero and
  never fall; a new process is a new generation.
- `block` refuses new connections and leaves the counter in place; `cut` ends the live ones. The order is
  block, read, cut: a byte that passed before the cut is still in the counter at the next reading.
- All methods are idempotent: blocking who is blocked or adding who is there is success.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from agent.core.counting import Meter, Reading
from agent.core.served import Served, Status
from agent.core.sessions import Session
from shared.messages import Account, Endpoint
from shared.names import EndpointId


@dataclass(frozen=True)
class Cut:
    """What a cut did: connections ended, and whether some of the user's could not be reached."""

    ended: int
    left: bool = False


class DriverError(Exception):
    """The core refused or did not answer; the text says what and is safe to show."""


class CoreDownError(DriverError):
    """The core is not running: nothing was read or changed."""


class RestartNeededError(DriverError):
    """The core can do this with a new start only, which ends every connection."""


class PartlyServedError(DriverError):
    """Some endpoints cannot be served, by the reason; the others are, with their accounts."""

    def __init__(self, refused: Mapping[EndpointId, str]) -> None:
        super().__init__("; ".join(refused.values()))
        self.refused = refused


@dataclass(frozen=True)
class Adopted:
    """A core that was taken over, and what it serves; `stale` when it must be started anew to serve on."""

    served: Served
    stale: bool = False


class Driver(Protocol):
    """One core program on this node."""

    #: What the core is called in logs and in the ledger.
    name: str
    #: The protocols whose endpoints it serves.
    protocols: frozenset[str]
    #: What this driver cannot do here, in sentences for the operator; more are known once it runs.
    limitations: tuple[str, ...]

    async def adopt(self, expected: Served) -> Adopted | None:
        """Take over a core that an earlier agent left running; None when there is none to take over.

        A core does not tell all that was once asked of it: what runs as `expected` is said to be that.
        """

    async def start(self, served: Served) -> None:
        """Have the core serve exactly this, from a new start where it does not run as it ought to.

        What must be started anew has been read for the last time; what need not be is left alone. Raises
        DriverError with the reason when it cannot, PartlyServedError where the rest is served all the same.
        """

    async def stop(self) -> None:
        """End the core and wait until it is gone. Success when it was not running."""

    async def obstacles(self, endpoints: Sequence[Endpoint]) -> dict[EndpointId, str]:
        """Why these could not be served, as far as can be told without touching what runs."""

    async def check(self, endpoint: Endpoint) -> None:
        """See whether the core would take this endpoint, without touching what runs. Raises DriverError."""

    async def place(self, endpoint: Endpoint, accounts: Sequence[Account]) -> dict[Meter, str]:
        """Serve one more endpoint and these of it, without touching others; the refused, with the reason.

        Raises RestartNeededError where only a new start can do it, DriverError when the core refuses the
        endpoint: nothing of it is left then.
        """

    async def withdraw(self, endpoint: EndpointId) -> None:
        """Stop listening there for good; its connections live on. Success when it was not served."""

    async def add(self, accounts: Sequence[Account]) -> dict[Meter, str]:
        """Serve these too, without touching others; returns the refused ones with the reason.

        Raises RestartNeededError, as `block` does, where only a new start can change who is served.
        """

    async def block(self, meters: Sequence[Meter]) -> dict[Meter, str]:
        """Refuse new connections of these; returns those that could not be blocked with the reason."""

    async def cut(self, meters: Sequence[Meter]) -> Cut:
        """End the live connections of these and of nobody else."""

    async def cut_all(self) -> Cut:
        """End every live connection, before a last reading and a stop."""

    async def read(self) -> Sequence[Reading]:
        """Read all counters, by source. Raises CoreDownError when there is nothing to read from."""

    async def sessions(self) -> Sequence[Session]:
        """Who is connected now, and from which addresses; each is named once. To be hashed and forgotten."""

    async def intruders(self) -> Mapping[EndpointId, str]:
        """Which endpoints' ports another program shares with the core, in sentences. Raises DriverError."""

    async def served(self) -> Served:
        """What the core itself says it serves, for the periodic full compare."""

    async def status(self) -> Status:
        """Whether the core runs and answers, within a bounded time."""

    async def exited(self) -> str:
        """Return, with the cause in words, when the running core ends without having been told to."""
