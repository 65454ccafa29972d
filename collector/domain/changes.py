"""What a mutation did: the new value and which nodes must hear of it."""

from dataclasses import dataclass, field
from typing import Generic, TypeVar

from shared.names import NodeId

T = TypeVar("T")


@dataclass(frozen=True)
class Change(Generic[T]):
    """The value for the caller, and the nodes whose desired state moved on."""

    value: T
    nodes: frozenset[NodeId] = field(default_factory=frozenset)
