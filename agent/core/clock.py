"""Whether the wall clock was set, told by what it did beside the time since boot: pure.

What always holds: the time that a machine slept is no jump, since time since boot counts it (CLOCK_BOOTTIME,
clock_gettime(2)); what an NTP client corrects bit by bit is none either.
"""

from dataclasses import dataclass

#: Smaller steps are the ordinary work of a time service.
JUMP_MS = 2_000
#: How wrong a clock may be for VMess, whose clients are refused otherwise (proxy/vmess/validator.go).
VMESS_MS = 120_000


@dataclass(frozen=True, kw_only=True)
class Moment:
    """One moment by both clocks: milliseconds since the epoch, and since boot."""

    wall_ms: int
    boot_ms: int


def jump_ms(before: Moment, after: Moment) -> int:
    """By how much the wall clock was set between two moments, forward is positive; 0 where it was not."""
    by_ms = (after.wall_ms - before.wall_ms) - (after.boot_ms - before.boot_ms)
    return by_ms if abs(by_ms) >= JUMP_MS else 0


def told(by_ms: int, *, vmess: bool) -> str:
    """What a jump means, in words; `vmess`: the node serves VMess."""
    way = "forward" if by_ms > 0 else "back"
    sentence = (
        f"the clock of the node was set {way} by {abs(by_ms) / 1000:.0f} s: bytes count in the hours that it "
        "shows now; leases and the fence go on, since they go by the time since boot"
    )
    if not vmess:
        return sentence
    if abs(by_ms) > VMESS_MS:
        return f"{sentence}; VMess clients are refused while it differs from theirs by more than 120 s"
    return f"{sentence}; VMess allows a difference of 120 s to its clients"
