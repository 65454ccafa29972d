"""What a mutation did: the new value and which nodes must hear of it."""

from dataclasses import dataclass, field
from typing import Generic, TypeVar

from shared.names import NodeId

T = TypeVar("T")


@dataclass(frozen=True)
class Change(Generic[T]):
    """The value for the caller, and the nodes whose desired state moved on.

    `managers` tells whether users must be stopped or may go on because of a manager above them, which is done
    after this in small transactions.
    """

    value: T
    nodes: frozenset[NodeId] = field(default_factory=frozenset)
    managers: bool = False
