"""Nodes: one server with one agent each (rows R4, H3).

What always holds: what a node moved in its period is worked out from its hours, so there is no counter to
reset; a period that ends only moves the moment from which they are added up.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

import msgspec

from collector.domain import names, resets
from collector.domain.resets import Mode, Schedule
from shared.messages import Body
from shared.names import NodeId

#: 100 Gbit/s: no interface of a VPN node carries more, so a rate above it is a fault of counting.
DEFAULT_LINK_MBPS = 100_000
MAX_LINK_MBPS = 1_000_000


_NEVER = Schedule(mode=Mode.NEVER)


@dataclass(frozen=True, kw_only=True)
class Node:
    """A node as the collector knows it. `acknowledged` is the generation its agent has applied.

    Its present period began at `period_start_ms` and ends at `due_ms`; where it never ends, at None.
    """

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
    schedule: Schedule = _NEVER
    period_start_ms: int = 0
    due_ms: int | None = None
    learning_ms: int | None = None


@dataclass(frozen=True, kw_only=True)
class NodeView:
    """A node as the API shows it, with what its agent last said.

    `used_up` and `used_down` are raw bytes of its present period, of all time where it has none. They are
    null in lists, and where the history of the period cannot be read. `learning_ms` is since when the node is
    asked what it holds, after a backup may have been restored: until it has answered or is revoked, nobody
    who is or was placed on it is lent more of a limit.
    """

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
    reset: Mode
    reset_day: int | None
    reset_month: int | None
    zone: str
    period_start_ms: int
    next_reset_ms: int | None
    learning_ms: int | None
    used_up: int | None = None
    used_down: int | None = None


class NewNode(Body, frozen=True):
    """A node to create; without a zone it gets the collector's."""

    name: str
    region: str = ""
    link_mbps: int = DEFAULT_LINK_MBPS
    reset: Mode = Mode.NEVER
    reset_day: int | None = None
    reset_month: int | None = None
    zone: str | None = None


class NodeChanges(Body, frozen=True):
    """Fields of a node to change; absent ones stay, but a new mode does not keep the day of the old one."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    region: str | msgspec.UnsetType = msgspec.UNSET
    link_mbps: int | msgspec.UnsetType = msgspec.UNSET
    reset: Mode | msgspec.UnsetType = msgspec.UNSET
    reset_day: int | msgspec.UnsetType | None = msgspec.UNSET
    reset_month: int | msgspec.UnsetType | None = msgspec.UNSET
    zone: str | msgspec.UnsetType = msgspec.UNSET


def schedule_of(new: NewNode) -> Schedule:
    """When a new node's periods begin."""
    zone = "UTC" if new.zone is None else new.zone
    return Schedule(mode=new.reset, zone=zone, day=new.reset_day, month=new.reset_month)


def schedule_after(before: Schedule, changes: NodeChanges) -> Schedule:
    """When they begin after an admin's changes."""
    unset = msgspec.UNSET
    mode = before.mode if changes.reset is unset else changes.reset
    day, month = (before.day, before.month) if mode is before.mode else (None, None)
    return Schedule(
        mode=mode,
        zone=before.zone if changes.zone is unset else changes.zone,
        day=day if changes.reset_day is unset else changes.reset_day,
        month=month if changes.reset_month is unset else changes.reset_month,
    )


def fresh(new: NewNode, now_ms: int) -> Node:
    """A node as it is made; its id is given by the store."""
    node = Node(
        id=NodeId(0),
        name=new.name,
        region=new.region,
        link_mbps=new.link_mbps,
        revoked=False,
        enrolled_ms=None,
        generation=0,
        acknowledged=0,
        created_ms=now_ms,
        last_seen_ms=None,
        schedule=schedule_of(new),
    )
    return turned(node, now_ms)


def facts(node: Node) -> dict[str, Any]:
    """What is to be told of a node, by field."""
    schedule = node.schedule
    return {
        "name": node.name,
        "region": node.region,
        "link_mbps": node.link_mbps,
        "reset": schedule.mode,
        "reset_day": schedule.day,
        "reset_month": schedule.month,
        "zone": schedule.zone,
    }


def changed(node: Node, changes: NodeChanges, now_ms: int) -> Node:
    """The node after an admin's changes; its period is at once the one of the new schedule."""
    unset = msgspec.UNSET
    schedule = schedule_after(node.schedule, changes)
    after = dataclasses.replace(
        node,
        name=node.name if changes.name is unset else changes.name,
        region=node.region if changes.region is unset else changes.region,
        link_mbps=node.link_mbps if changes.link_mbps is unset else changes.link_mbps,
        schedule=schedule,
    )
    return after if schedule == node.schedule else turned(after, now_ms)


def turned(node: Node, now_ms: int) -> Node:
    """The node in the period that holds this moment."""
    return dataclasses.replace(
        node,
        period_start_ms=resets.period_start_ms(node.schedule, None, now_ms),
        due_ms=resets.next_reset_ms(node.schedule, None, now_ms),
    )


def wrong(node: NewNode | NodeChanges, schedule: Schedule) -> dict[str, str]:
    """What is wrong with a new node or with changes to one, by field, and with the schedule it would have."""
    unset = msgspec.UNSET
    of_schedule = resets.wrong(schedule)
    return names.collect(
        name=None if node.name is unset else names.wrong_name(node.name),
        region=None if node.region is unset else _wrong_region(node.region),
        link_mbps=None if node.link_mbps is unset else _wrong_link(node.link_mbps),
        zone=of_schedule.get("zone"),
        reset_day=of_schedule.get("day"),
        reset_month=of_schedule.get("month"),
    )


def _wrong_region(region: str) -> str | None:
    return names.wrong_name(region) if region else None


def _wrong_link(link_mbps: int) -> str | None:
    if 1 <= link_mbps <= MAX_LINK_MBPS:
        return None
    return f"use the node's line rate in Mbit/s, from 1 to {MAX_LINK_MBPS}"
