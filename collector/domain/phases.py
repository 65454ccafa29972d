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

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum, Flag, auto

from collector.domain.managers import COUNTS, QUOTAS, Manager

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
