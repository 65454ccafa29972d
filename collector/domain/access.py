"""Who may do what: every caller is an actor with a role, every route names the roles it serves.

What always holds: a node may touch its own rows only. The roles of resellers and users join here later.
"""

from dataclasses import dataclass
from enum import Enum

from collector.domain import refusals


class Role(Enum):
    """What a caller is. NOBODY is a caller without credentials, for the few public routes."""

    NOBODY = "nobody"
    NODE = "node"
    ADMIN = "admin"


@dataclass(frozen=True)
class Actor:
    """A caller: an admin, a node, or the collector itself."""

    role: Role
    id: int

    def __str__(self) -> str:
        return f"{self.role.value}:{self.id}"


#: The collector acting by itself, or its operator on the command line.
SYSTEM = Actor(Role.ADMIN, 0)
NOBODY = Actor(Role.NOBODY, 0)


def require_own_node(actor: Actor, node: int) -> None:
    """Raise Refused when a node asks for another node's rows."""
    if actor.role is Role.NODE and actor.id != node:
        raise refusals.Refused(refusals.Kind.FORBIDDEN, "a node may ask for its own configuration only")
