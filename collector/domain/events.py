"""Events: what happened, when, to whom, and who did it (row H8)."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Event:
    """One change of state. `subject` is what changed, as `user:7`; `data` holds its figures, no secrets."""

    at_ms: int
    actor: str
    kind: str
    subject: str
    data: Mapping[str, object] = field(default_factory=dict)
    number: int = 0
