"""When a core is to be restarted, and how soon.

What always holds: the first restart after a quiet time happens at once, since users are waiting; a core that
dies again and again is restarted more and more rarely, but never given up. There is a budget besides: a core
that is steady for a while and dies all the same is restarted at once only so often, then about once a minute
until the budget has room again. A core that lives but does not answer is taken for dead only after several
silent checks. Times are those of a clock that is never set.
"""

import dataclasses

from agent.core import backoff
from agent.core.served import Status

#: Silent checks in a row before a living core counts as hanging; one may fall into a pause of the machine.
HANG_CHECKS = 3
#: A core that served this long was healthy: its next failure is a first one again. It is longer than any
#: wait below, or the wait itself would pass for good health.
STEADY_MS = 120_000
_BASE_S = 1.0
_CAP_S = 60.0
#: So many restarts in so long a time are the budget of all but the rare ones.
BUDGET = 6
BUDGET_MS = 900_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Health:
    """What the supervisor remembers: restarts since the core was last steady, and silent checks in a row.

    `recent` are the times of the last restarts, at most as many as the budget has.
    """

    restarts: int = 0
    restarted_ms: int = 0
    silent: int = 0
    recent: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Failure:
    """Why the core must be restarted; `hanging` when it still runs and may be read a last time."""

    kind: str
    detail: str
    hanging: bool = False


def check(health: Health, status: Status) -> tuple[Health, Failure | None]:
    """Judge one look at the core."""
    if not status.running:
        return health, Failure("core_down", status.problem or "the core is not running")
    if status.problem is None:
        return dataclasses.replace(health, silent=0), None
    silent = health.silent + 1
    health = dataclasses.replace(health, silent=silent)
    if silent < HANG_CHECKS:
        return health, None
    detail = f"the core did not answer {silent} checks in a row: {status.problem}"
    return health, Failure("core_hanging", detail, hanging=True)


def restart_delay_s(health: Health, *, now_ms: int, chance: float) -> float:
    """Seconds to wait before the next restart; `chance` is random in [0, 1)."""
    if spent(health, now_ms=now_ms):
        return backoff.spread_s(_CAP_S, chance=chance)
    restarts = _in_a_row(health, now_ms)
    if restarts == 0:
        return 0.0
    return backoff.delay_s(restarts - 1, base_s=_BASE_S, cap_s=_CAP_S, chance=chance)


def restarted(health: Health, *, now_ms: int) -> Health:
    """Remember a restart, whether it succeeded or not."""
    recent = (*health.recent, now_ms)[-BUDGET:]
    return Health(restarts=_in_a_row(health, now_ms) + 1, restarted_ms=now_ms, recent=recent)


def spent(health: Health, *, now_ms: int) -> str | None:
    """In words that the budget of restarts is used up; None while it is not."""
    if sum(now_ms - at_ms < BUDGET_MS for at_ms in health.recent) < BUDGET:
        return None
    return (
        f"the core was restarted {BUDGET} times in {BUDGET_MS // 60_000} minutes: "
        f"it is now restarted about every {_CAP_S:.0f} s only, until it holds"
    )


def _in_a_row(health: Health, now_ms: int) -> int:
    steady = now_ms - health.restarted_ms >= STEADY_MS
    return 0 if steady else health.restarts
