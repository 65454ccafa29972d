"""When a user's package begins, resets and ends, as an admin says it (rows H2, H3).

What always holds: a validity that was accepted can be worked out for every moment; its moments lie between
the years 2000 and 4000. A duration is real time, resets follow the calendar of the zone.
"""

import functools
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from collector.domain import names, resets
from collector.domain.resets import Anchor, Mode, Schedule
from shared.messages import Body

T = TypeVar("T")

#: 2000-01-01 and 3000-01-01 in UTC: a start in seconds instead of ms falls outside.
_EARLIEST_MS = 946_684_800_000
_LATEST_MS = 32_503_680_000_000
#: A thousand years of 365 days.
_LONGEST_S = 1_000 * 365 * 86_400


_NEVER = Schedule(mode=Mode.NEVER)


@dataclass(frozen=True, kw_only=True)
class Validity:
    """Without a duration there is no end; without a start it begins with the first use."""

    schedule: Schedule = _NEVER
    duration_s: int | None = None
    start_at_ms: int | None = None


ENDLESS = Validity()


class NewValidity(Body, frozen=True, kw_only=True):
    """The validity of somebody new; without a zone he gets the collector's."""

    reset: Mode = Mode.NEVER
    reset_anchor: Anchor = Anchor.CALENDAR
    reset_day: int | None = None
    reset_month: int | None = None
    zone: str | None = None
    duration_s: int | None = None
    start_at_ms: int | None = None


class ValidityChanges(Body, frozen=True, kw_only=True):
    """Fields to change; absent ones stay, but a new mode or anchor does not keep the day of the old one."""

    reset: Mode | msgspec.UnsetType = msgspec.UNSET
    reset_anchor: Anchor | msgspec.UnsetType = msgspec.UNSET
    reset_day: int | msgspec.UnsetType | None = msgspec.UNSET
    reset_month: int | msgspec.UnsetType | None = msgspec.UNSET
    zone: str | msgspec.UnsetType = msgspec.UNSET
    duration_s: int | msgspec.UnsetType | None = msgspec.UNSET
    start_at_ms: int | msgspec.UnsetType | None = msgspec.UNSET


@functools.lru_cache(maxsize=4_096)
def made(
    mode: Mode,
    anchor: Anchor,
    day: int | None,
    month: int | None,
    zone: str,
    duration_s: int | None,
    start_at_ms: int | None,
) -> Validity:
    """The validity of these parts: one value for all users who share it, since it is read with every row."""
    schedule = Schedule(mode=mode, zone=zone, anchor=anchor, day=day, month=month)
    return Validity(schedule=schedule, duration_s=duration_s, start_at_ms=start_at_ms)


def asked(new: NewValidity) -> Validity:
    """The validity that was asked for."""
    zone = "UTC" if new.zone is None else new.zone
    day, month = new.reset_day, new.reset_month
    return made(new.reset, new.reset_anchor, day, month, zone, new.duration_s, new.start_at_ms)


def changed(before: Validity, changes: ValidityChanges) -> Validity:
    """The validity after an admin's changes."""
    old = before.schedule
    mode, anchor = _or(changes.reset, old.mode), _or(changes.reset_anchor, old.anchor)
    same = (mode, anchor) == (old.mode, old.anchor)
    return made(
        mode,
        anchor,
        _or(changes.reset_day, old.day if same else None),
        _or(changes.reset_month, old.month if same else None),
        _or(changes.zone, old.zone),
        _or(changes.duration_s, before.duration_s),
        _or(changes.start_at_ms, before.start_at_ms),
    )


def fields(validity: Validity) -> dict[str, object]:
    """Every part under the name by which it is asked for."""
    schedule = validity.schedule
    return {
        "reset": schedule.mode.value,
        "reset_anchor": schedule.anchor.value,
        "reset_day": schedule.day,
        "reset_month": schedule.month,
        "zone": schedule.zone,
        "duration_s": validity.duration_s,
        "start_at_ms": validity.start_at_ms,
    }


def wrong(validity: Validity) -> dict[str, str]:
    """What is wrong with a validity, by field."""
    of_schedule = resets.wrong(validity.schedule)
    return names.collect(
        zone=of_schedule.get("zone"),
        reset_day=of_schedule.get("day"),
        reset_month=of_schedule.get("month"),
        duration_s=_wrong_duration(validity.duration_s),
        start_at_ms=_wrong_start(validity.start_at_ms),
    )


def _wrong_duration(duration_s: int | None) -> str | None:
    if duration_s is None or 1 <= duration_s <= _LONGEST_S:
        return None
    return f"use whole seconds from 1 to {_LONGEST_S}, or null for no end"


def _wrong_start(start_at_ms: int | None) -> str | None:
    if start_at_ms is None or _EARLIEST_MS <= start_at_ms <= _LATEST_MS:
        return None
    return "use ms since the epoch, from the year 2000 to 3000, or null for a start with the first use"


def _or(wanted: T | msgspec.UnsetType, present: T) -> T:
    return present if isinstance(wanted, msgspec.UnsetType) else wanted
