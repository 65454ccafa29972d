"""How often the agent does what; a value that settings fill and loops go by."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How often each loop turns, in seconds."""

    poll_s: float = 0.25
    report_min_s: float = 0.05
    report_s: float = 5.0
    heartbeat_s: float = 15.0
    full_compare_s: float = 300.0
    sessions_s: float = 5.0
    wait_s: int = 50
