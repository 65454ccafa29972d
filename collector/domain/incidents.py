"""Incidents: what went wrong on nodes, as the collector keeps it (row R5)."""

from dataclasses import dataclass

from shared.names import NodeId


@dataclass(frozen=True, kw_only=True)
class Seen:
    """An incident that reached the collector; `id` is the order of arrival."""

    id: int
    node: NodeId
    at_ms: int
    received_ms: int
    kind: str
    detail: str
