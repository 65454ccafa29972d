"""Who may do what: every caller is an actor with a role, every route names the roles it serves.

What always holds: a node may touch its own rows only; a manager sees and touches only what is below him, and
of everything else he is told that it does not exist. The role of users joins here later.
"""

from dataclasses import dataclass
from enum import Enum

from collector.domain import refusals
from shared.names import ManagerId


class Role(Enum):
    """What a caller is: NOBODY has no credentials, SYSTEM is the collector itself and never calls."""

    NOBODY = "nobody"
    NODE = "node"
    MANAGER = "manager"
    ADMIN = "admin"
    SYSTEM = "system"


@dataclass(frozen=True)
class Actor:
    """A caller: an admin, a manager, a node, or the collector itself."""

    role: Role
    id: int

    def __str__(self) -> str:
        return f"{self.role.value}:{self.id}"

    @property
    def manager(self) -> ManagerId | None:
        """The manager who calls, if it is one."""
        return ManagerId(self.id) if self.role is Role.MANAGER else None


#: The collector acting by itself.
SYSTEM = Actor(Role.SYSTEM, 0)
#: Its operator on the command line.
OPERATOR = Actor(Role.ADMIN, 0)
NOBODY = Actor(Role.NOBODY, 0)


def require_own_node(actor: Actor, node: int) -> None:
    """Raise Refused when a node asks for another node's rows."""
    if actor.role is Role.NODE and actor.id != node:
        raise refusals.Refused(refusals.Kind.FORBIDDEN, "a node may ask for its own configuration only")
