"""From the events of a user to what he is: a fold over his stream (row H8).

What always holds: his stored events and his hourly usage are enough, in any order of the usage among them.
Counters are sums of billed bytes: those of his period are what all of them exceed its base by.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import msgspec

from collector.domain import events, payloads, resets, validity
from collector.domain.events import Recorded
from collector.domain.payloads import UserFacts
from collector.domain.users import Status
from shared.names import MAX_BYTES

_FACTS = tuple(one.name for one in msgspec.structs.fields(UserFacts))


@dataclass(frozen=True)
class _Bytes:
    up: int = 0
    down: int = 0

    def plus(self, up: int, down: int) -> "_Bytes":
        return _Bytes(self.up + up, self.down + down)

    def clamped(self) -> "_Bytes":
        return _Bytes(min(MAX_BYTES, self.up), min(MAX_BYTES, self.down))


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """What a user's events say of him."""

    facts: UserFacts
    removed: bool = False
    _base: _Bytes = field(default=_Bytes())
    _recorded: _Bytes = field(default=_Bytes())

    @property
    def standing(self) -> tuple[Status, str | None]:
        """His status and the reason for it."""
        return self.facts.status, self.facts.reason

    @property
    def life(self) -> tuple[int, int]:
        """Billed bytes in all, up and down."""
        total = self._recorded.clamped()
        return total.up, total.down

    @property
    def period(self) -> tuple[int, int]:
        """Billed bytes of his present period, up and down."""
        up, down = self.life
        return up - self._base.up, down - self._base.down

    def period_start_ms(self, now_ms: int) -> int:
        """When his present period began: periods in which nothing was used follow from his schedule."""
        facts = self.facts
        valid = validity.made(
            *(facts.reset, facts.reset_anchor, facts.reset_day, facts.reset_month, facts.zone),
            *(facts.duration_s, facts.start_at_ms),
        )
        started_ms = facts.first_used_ms if facts.start_at_ms is None else facts.start_at_ms
        return max(facts.period_start_ms, resets.period_start_ms(valid.schedule, started_ms, now_ms))


def replay(stream: Iterable[Recorded]) -> Replayed | None:
    """What these events arrive at; None while nothing in them says who he was at first.

    What comes before a snapshot is not needed; what this version cannot read is passed over.
    """
    state: Replayed | None = None
    recorded = _Bytes()
    for one in stream:
        data = events.payload(one)
        if isinstance(data, payloads.Hour | payloads.Forgotten):
            recorded = recorded.plus(data.billed_up_bytes, data.billed_down_bytes)
        else:
            state = _after(state, data)
    return None if state is None else replace(state, _recorded=recorded)


def _after(state: Replayed | None, data: payloads.Data | None) -> Replayed | None:
    if isinstance(data, payloads.UserCreated):
        return Replayed(facts=_only_facts(data))
    if isinstance(data, payloads.UserSnapshot):
        return Replayed(
            facts=_only_facts(data),
            removed=data.removed,
            _base=_Bytes(data.base_up_bytes, data.base_down_bytes),
        )
    return state if state is None or data is None else _moved(state, data)


def _moved(state: Replayed, data: payloads.Data) -> Replayed:
    match data:
        case payloads.Changed(changes=changes):
            return replace(state, facts=_changed(state.facts, changes))
        case payloads.Judged(status=status, reason=reason):
            return replace(state, facts=msgspec.structs.replace(state.facts, status=status, reason=reason))
        case payloads.Reset(base_up_bytes=up, base_down_bytes=down, next_start_ms=start_ms):
            facts = msgspec.structs.replace(state.facts, period_start_ms=start_ms)
            return replace(state, facts=facts, _base=_Bytes(up, down))
        case payloads.Late(base_up_bytes=up, base_down_bytes=down):
            return replace(state, _base=_Bytes(up, down))
        case payloads.Course(first_used_ms=first_ms):
            return replace(state, facts=msgspec.structs.replace(state.facts, first_used_ms=first_ms))
    return replace(state, removed=True) if type(data) is payloads.Named else state


def _changed(facts: UserFacts, changes: dict[str, payloads.Pair]) -> UserFacts:
    news = {name: pair.after for name, pair in changes.items() if name in _FACTS}
    return msgspec.convert({**msgspec.to_builtins(facts), **news}, UserFacts)


def _only_facts(data: UserFacts) -> UserFacts:
    return UserFacts(**{name: getattr(data, name) for name in _FACTS})
