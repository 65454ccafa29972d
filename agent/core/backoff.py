"""How long to wait before trying again: exponential with full jitter.

What always holds: the wait lies between zero and the cap, so a fleet that lost its collector at one moment
does not come back at one moment. (Full jitter: the whole interval is random, not its last tenth.)
"""


def delay_s(attempt: int, *, base_s: float, cap_s: float, chance: float) -> float:
    """Seconds to wait after the failure number `attempt`, counted from 0; `chance` is random in [0, 1)."""
    # 2**64 seconds is past any cap; a bound here keeps a year of failures from growing the number for ever.
    return chance * min(cap_s, base_s * float(2 ** min(attempt, 64)))


def spread_s(period_s: float, *, chance: float) -> float:
    """A period made ten per cent shorter or longer, so that nodes started together drift apart."""
    return period_s * (0.9 + 0.2 * chance)
