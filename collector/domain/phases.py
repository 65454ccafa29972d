"""What follows when a manager comes near a limit, reaches it or is beyond it: three phases (row H12).

NOTICE, nobody is disturbed: entered when something comes to `notice_percent` of its limit, told once each
  time (of bytes: once a period); left when it falls below again. While sessions or users online are beyond
  their limit, it is also told every minute, up to `notices` times.
DEFAULT, what holds a limit: entered when a limit is reached. Of bytes: everybody below is cut, until a new
  period or a higher limit. Of sessions and users online: who is offline is blocked, who is online stays,
  until the count has fallen by a twentieth of the limit, at least by one. Of active users: whoever was not
  active in this period is blocked until the next one. Who is switched off, expired or not started cuts all.
PENALTY, against what goes on beyond a limit: entered when sessions or users online are still beyond it a
  minute after the last of `notices` notices (with 0 notices at once); everybody below is cut for `penalty_s`,
  then the notices begin anew. They are forgotten when the limits were kept for as long as that. With a
  `penalty_s` of 0 there is no penalty, and one that runs ends.

What always holds: the harder phase is the one that is told. Notices and penalties are kept in a `Watch`, in
memory only: a restart ends them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum, Flag, auto
from typing import NamedTuple

from msgspec import structs

from collector.domain import managers, standing
from collector.domain.events import Kind
from collector.domain.managers import COUNTS, QUOTAS, Manager
from collector.domain.payloads import Data, ManagerLimit, ManagerResumed, Reset
from shared.names import ManagerId

NOTICE_EVERY_MS = 60_000
#: Those that fall when somebody leaves: only against them a penalty helps.
_LIVE = ("max_sessions", "max_online")
_SLACK = 20


class Phase(Enum):
    """What is done about a limit."""

    NOTICE = "notice"
    PENALTY = "penalty"
    DEFAULT = "default"


class Hold(Flag):
    """Which users below may not be served."""

    NOBODY = 0
    #: Those without a session.
    OFFLINE = auto()
    #: Those who were not active in the manager's present period.
    UNUSED = auto()
    EVERYBODY = auto()


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What there is below a manager now."""

    sessions: int = 0
    online: int = 0
    active: int = 0


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A manager with what there is below him: users directly and at any depth, and the counts of now.

    `depth` is how far he is below whoever is on top of what was asked for.
    """

    manager: Manager
    own_users: int
    users: int
    counts: Counts
    depth: int = 0


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The phase a manager is in, whom it holds, and the limits that are near, reached and exceeded."""

    phase: Phase | None = None
    hold: Hold = Hold.NOBODY
    near: frozenset[str] = frozenset()
    reached: frozenset[str] = frozenset()
    beyond: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Watch:
    """What is remembered of a manager from one look to the next."""

    verdict: Verdict = Verdict()
    notices: int = 0
    noticed_ms: int = 0
    penalty_until_ms: int = 0


CALM = Watch()


def verdict(manager: Manager, counts: Counts, watch: Watch = CALM, now_ms: int = 0) -> Verdict:
    """What these counts and the manager's own counters of bytes ask for, whatever was a moment ago."""
    figures = figures_of(manager, counts)
    limits = {field: limit for field, limit in manager.bounds.items() if limit is not None}
    blocked = watch.verdict.reached
    near = {one for one, limit in limits.items() if figures[one] * 100 >= limit * manager.notice_percent}
    reached = {one for one, limit in limits.items() if figures[one] >= limit - _slack(one, limit, blocked)}
    beyond = {one for one in _LIVE if one in limits and figures[one] > limits[one]}
    penalty = manager.penalty_s > 0 and now_ms < watch.penalty_until_ms
    hold = Hold.EVERYBODY if penalty or not manager.served else _hold(reached)
    return Verdict(
        phase=_phase(hold, near | reached, penalty=penalty),
        hold=hold,
        near=frozenset(near | reached),
        reached=frozenset(reached),
        beyond=frozenset(beyond),
    )


def watched(manager: Manager, counts: Counts, before: Watch, now_ms: int) -> Watch:
    """The memory after one more look, with the verdict of now."""
    after = _punished(manager, counts, before, now_ms)
    return replace(after, verdict=verdict(manager, counts, after, now_ms))


class Held(NamedTuple):
    """Whom a manager and everybody above him hold together.

    `since_ms` is from when on somebody counts as active: the latest period of those who hold whoever is not.
    """

    hold: Hold = Hold.NOBODY
    since_ms: int = 0


class Told(NamedTuple):
    """A change of phase as an event: its kind and its figures."""

    kind: Kind
    data: Data


def combined(walked: Iterable[Manager], verdicts: Mapping[ManagerId, Verdict]) -> dict[ManagerId, Held]:
    """Whom each manager's own users are held by: him, and everybody above, who must come before him."""
    found: dict[ManagerId | None, Held] = {}
    for one in walked:
        above, own = found.get(one.parent, Held()), verdicts[one.id].hold
        since_ms = max(above.since_ms, one.period_start_ms) if own & Hold.UNUSED else above.since_ms
        found[one.id] = Held(above.hold | own, since_ms)
    return {number: held for number, held in found.items() if number is not None}


def turned(before: Manager, after: Manager) -> list[Told]:
    """What is to be told of a manager whom bytes, time or somebody else changed."""
    told: list[Told] = []
    same_period = after.period_start_ms == before.period_start_ms
    if not same_period and before.used.total:
        told.append(_reset(before, after))
    figures = figures_of(after, Counts())
    marks = zip(QUOTAS, managers.marks_of(before), managers.marks_of(after), strict=True)
    for field, (was_near, _), (near, _) in marks:
        if near and not (was_near and same_period):
            told.append(_limit(Kind.MANAGER_NOTICE, after, field, figures))
    if after.standing == before.standing:
        return told
    if after.served:
        return [*told, _resumed(after, before.reason or before.status.value)]
    limit = after.reason or after.status.value
    if limit == standing.OVER_QUOTA:
        of_after = zip(QUOTAS, managers.marks_of(after), strict=True)
        limit = next(field for field, (_, is_reached) in of_after if is_reached)
    return [*told, _limit(Kind.MANAGER_STOPPED, after, limit, figures)]


def looked(manager: Manager, counts: Counts, before: Watch, after: Watch) -> list[Told]:
    """What is to be told of a manager whose counts moved; what bytes do to him is told by `turned`."""
    figures, was, now = figures_of(manager, counts), before.verdict, after.verdict
    told = [
        _limit(Kind.MANAGER_NOTICE, manager, field, figures)
        for field in COUNTS
        if field in now.near - was.near
    ]
    beyond = [field for field in COUNTS if field in now.beyond]
    if after.notices > before.notices:
        number = {"notice": after.notices, "of": manager.notices}
        told += [_limit(Kind.MANAGER_NOTICE, manager, field, figures, **number) for field in beyond]
    if after.penalty_until_ms > before.penalty_until_ms:
        until = {"until_ms": after.penalty_until_ms}
        told += [_limit(Kind.MANAGER_PENALTY, manager, field, figures, **until) for field in beyond]
    elif was.phase is Phase.PENALTY and now.phase is not Phase.PENALTY:
        told.append(_resumed(manager, Phase.PENALTY.value))
    for field in COUNTS:
        if field in now.reached - was.reached:
            told.append(_limit(Kind.MANAGER_STOPPED, manager, field, figures))
        elif field in was.reached - now.reached:
            told.append(_resumed(manager, field))
    return told


def _reset(before: Manager, after: Manager) -> Told:
    data = Reset(
        name=after.name,
        up_bytes=before.up_bytes,
        down_bytes=before.down_bytes,
        base_up_bytes=before.life_up_bytes,
        base_down_bytes=before.life_down_bytes,
        period_start_ms=before.period_start_ms,
        next_start_ms=after.period_start_ms,
    )
    return Told(Kind.MANAGER_RESET, data)


def _resumed(manager: Manager, reason: str) -> Told:
    return Told(Kind.MANAGER_RESUMED, ManagerResumed(name=manager.name, reason=reason))


def _limit(kind: Kind, manager: Manager, limit: str, figures: Mapping[str, int], **more: int) -> Told:
    """One limit with its figures; of an end or a switch there are none."""
    allowed = manager.bounds.get(limit)
    data = ManagerLimit(name=manager.name, limit=limit, used=figures.get(limit, 0), allowed=allowed)
    return Told(kind, structs.replace(data, **more))


def figures_of(manager: Manager, counts: Counts) -> Mapping[str, int]:
    """What counts against each limit, by its field."""
    counted = (counts.sessions, counts.online, counts.active)
    return dict(zip((*QUOTAS, *COUNTS), (*manager.used, *counted), strict=True))


def _punished(manager: Manager, counts: Counts, before: Watch, now_ms: int) -> Watch:
    if now_ms < before.penalty_until_ms:
        return before
    quiet_ms = now_ms - before.noticed_ms
    if not verdict(manager, counts).beyond:
        forgotten = before.notices and quiet_ms >= max(NOTICE_EVERY_MS, manager.penalty_s * 1000)
        return replace(before, notices=0, noticed_ms=0) if forgotten else before
    if before.notices and quiet_ms < NOTICE_EVERY_MS:
        return before
    if before.notices < manager.notices:
        return replace(before, notices=before.notices + 1, noticed_ms=now_ms)
    if manager.penalty_s == 0:
        return before
    return replace(before, notices=0, noticed_ms=0, penalty_until_ms=now_ms + manager.penalty_s * 1000)


def _hold(reached: set[str]) -> Hold:
    offline = Hold.OFFLINE if reached & set(_LIVE) else Hold.NOBODY
    unused = Hold.UNUSED if "max_active" in reached else Hold.NOBODY
    return offline | unused


def _phase(hold: Hold, near: set[str], *, penalty: bool) -> Phase | None:
    if penalty:
        return Phase.PENALTY
    if hold is not Hold.NOBODY:
        return Phase.DEFAULT
    return Phase.NOTICE if near else None


def _slack(field: str, limit: int, blocked: frozenset[str]) -> int:
    """What a count must fall below its limit by, so that two users who come and go do not move everybody.

    One less than that is still reached.
    """
    return max(1, limit // _SLACK) - 1 if field in _LIVE and field in blocked else 0
