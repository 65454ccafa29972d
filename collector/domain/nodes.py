"""Nodes: one server with one agent each (rows R4, H3)."""

from dataclasses import dataclass

import msgspec

from collector.domain import names
from shared.messages import Body
from shared.names import NodeId

#: 100 Gbit/s: no interface of a VPN node carries more, so a rate above it is a fault of counting.
DEFAULT_LINK_MBPS = 100_000
MAX_LINK_MBPS = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Node:
    """A node as the collector knows it. `acknowledged` is the generation its agent has applied."""

    id: NodeId
    name: str
    region: str
    link_mbps: int
    revoked: bool
    enrolled_ms: int | None
    generation: int
    acknowledged: int
    created_ms: int
    last_seen_ms: int | None


@dataclass(frozen=True, kw_only=True)
class NodeView:
    """A node as the API shows it, with what its agent last said."""

    id: NodeId
    name: str
    region: str
    link_mbps: int
    revoked: bool
    enrolled: bool
    generation: int
    acknowledged: int
    last_seen_ms: int | None
    cpu_percent: float | None
    memory_percent: float | None
    bandwidth_in_bps: int | None
    bandwidth_out_bps: int | None
    latency_ms: float | None
    core_running: bool | None
    core_version: str | None
    agent_version: str | None
    limitations: list[str]
    failures: dict[str, str]


class NewNode(Body, frozen=True):
    """A node to create."""

    name: str
    region: str = ""
    link_mbps: int = DEFAULT_LINK_MBPS


class NodeChanges(Body, frozen=True):
    """Fields of a node to change; absent ones stay."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    region: str | msgspec.UnsetType = msgspec.UNSET
    link_mbps: int | msgspec.UnsetType = msgspec.UNSET


def wrong(new: NewNode) -> dict[str, str]:
    """What is wrong with a new node, by field."""
    return names.collect(
        name=names.wrong_name(new.name),
        region=_wrong_region(new.region),
        link_mbps=_wrong_link(new.link_mbps),
    )


def wrong_changes(changes: NodeChanges) -> dict[str, str]:
    """What is wrong with changes to a node, by field."""
    unset = msgspec.UNSET
    return names.collect(
        name=None if changes.name is unset else names.wrong_name(changes.name),
        region=None if changes.region is unset else _wrong_region(changes.region),
        link_mbps=None if changes.link_mbps is unset else _wrong_link(changes.link_mbps),
    )


def _wrong_region(region: str) -> str | None:
    return names.wrong_name(region) if region else None


def _wrong_link(link_mbps: int) -> str | None:
    if 1 <= link_mbps <= MAX_LINK_MBPS:
        return None
    return f"use the node's line rate in Mbit/s, from 1 to {MAX_LINK_MBPS}"
