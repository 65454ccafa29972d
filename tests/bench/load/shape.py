"""What a fleet under load looks like: its users and nodes, who is served where, and what is reported of whom.

What always holds: every node reports the same number of users, every user is reported by the same number of
nodes, and the totals of every user and node differ, so that a byte booked to a neighbour is seen. Numbers of
users, nodes and endpoints are those a fresh collector gives out: 1, 2, 3; a node has one endpoint.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from shared.names import EndpointId, ManagerId, NodeId, UserId

#: Who has limits and so needs leases: nobody, everybody, every other one, or everybody through a manager's.
Mix = Literal["unlimited", "limited", "half", "pooled"]

#: A package of 10 GB for 30 days from the first use.
QUOTA_BYTES = 10 * 10**9
DURATION_S = 30 * 24 * 3600
#: What the manager above everybody may have used, where users live by it.
POOL_BYTES = 10**15

#: Managers stand three deep: one, his ten, and ten of each of those, who have the users.
_ABREAST = 10
MANAGERS = 1 + _ABREAST + _ABREAST * _ABREAST

_UP_BYTES = 2_000
_DOWN_BYTES = 20_000
_SPREAD = 997
#: Totals of one user differ by node, too.
_NODE_STEP = 7


@dataclass(frozen=True, kw_only=True)
class Shape:
    """`rows` users are served by each node."""

    users: int
    nodes: int
    rows: int
    mix: Mix = "half"

    def __post_init__(self) -> None:
        """Refuse a shape in which users would not be served alike."""
        if self.users % self.rows or self.nodes % (self.users // self.rows):
            raise ValueError(f"{self.users} users cannot be spread evenly over {self.nodes} x {self.rows}")

    @property
    def round_rows(self) -> int:
        """Rows of one round: every node reports each of its users once."""
        return self.nodes * self.rows

    def limited(self, user: UserId) -> bool:
        """Whether a user has a quota of his own."""
        return self.mix == "limited" or (self.mix == "half" and user % 2 == 0)

    def served_on(self, node: NodeId) -> Sequence[int]:
        """The users of a node."""
        first = (node - 1) * self.rows % self.users
        return range(first + 1, first + 1 + self.rows)

    def nodes_of(self, user: UserId) -> Sequence[int]:
        """The nodes of a user."""
        apart = self.users // self.rows
        return range((user - 1) // self.rows + 1, self.nodes + 1, apart)


def parent(manager: int) -> int | None:
    """The manager above one, by number from 1; None above the first."""
    return None if manager == 1 else (manager - 2) // _ABREAST + 1


def manager(user: UserId) -> ManagerId:
    """The manager directly above a user."""
    leaves = _ABREAST * _ABREAST
    return ManagerId(MANAGERS - leaves + 1 + user % leaves)


def managers_of(user: UserId) -> Iterator[ManagerId]:
    """The managers above a user, from the nearest up."""
    above: int | None = manager(user)
    while above is not None:
        yield ManagerId(above)
        above = parent(above)


def endpoint(node: NodeId) -> EndpointId:
    """The one endpoint of a node."""
    return EndpointId(node)


def moved(user: UserId, node: NodeId, rounds: int) -> tuple[int, int]:
    """The totals of a user on a node after so many rounds, in bytes up and down."""
    own = user % _SPREAD + node * _NODE_STEP
    return rounds * (_UP_BYTES + own), rounds * (_DOWN_BYTES + 3 * own)


def rows(shape: Shape, node: NodeId, rounds: int) -> list[tuple[int, int, int, int]]:
    """What a node reports after so many rounds."""
    where = endpoint(node)
    # As `moved`, without a call for each of millions of rows.
    up, down, shift = rounds * _UP_BYTES, rounds * _DOWN_BYTES, node * _NODE_STEP
    served = [(user, (user % _SPREAD + shift) * rounds) for user in shape.served_on(node)]
    return [(user, where, up + own, down + 3 * own) for user, own in served]


def past(shape: Shape, node: NodeId, rounds: int, quarter: int) -> list[tuple[int, int, int, int, int]]:
    """What a node also reports when a quarter of an hour ended halfway to this round."""
    before, now = rows(shape, node, rounds - 1), rows(shape, node, rounds)
    return [
        (user, where, (up + was_up) // 2, (down + was_down) // 2, quarter)
        for (user, where, up, down), (_, _, was_up, was_down) in zip(now, before, strict=True)
    ]


def expected(shape: Shape, user: UserId, rounds: Mapping[NodeId, int]) -> tuple[int, int]:
    """What a user has to pay, up and down, when each node has reported so many rounds."""
    totals = [moved(user, NodeId(node), rounds.get(NodeId(node), 0)) for node in shape.nodes_of(user)]
    return sum(up for up, _ in totals), sum(down for _, down in totals)
