"""Penalties: who breaks the rules of his sessions is not served for a while (rows H1, H7; hue-prd 3.2).

He breaks them from too many addresses at once, or with a device that is not allowed.
What always holds: a penalty is in memory only; while it lasts nothing extends it, and what was seen before
its end does not count afterwards.
"""

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import Enum

from collector.domain.sessions import Rules
from shared.names import UserId

_MARK_BYTES = 7


class Reason(Enum):
    """Why."""

    SESSIONS = "sessions"
    DEVICE = "device"


@dataclass(frozen=True, kw_only=True)
class Penalty:
    """A penalty, its end in monotonic seconds, and its number, which no other one has."""

    user: UserId
    reason: Reason
    until_s: float
    number: int


def offence(rules: Rules, sessions: int, devices: Collection[str]) -> Reason | None:
    """What a user who is connected from so many addresses, with these devices, did wrong, if anything."""
    if rules.max_concurrent is not None and sessions > rules.max_concurrent:
        return Reason.SESSIONS
    if rules.allowed_devices and not set(rules.allowed_devices).issuperset(devices):
        return Reason.DEVICE
    return None


def mark(penalties: Iterable[Penalty]) -> int:
    """A number for this list of penalties: 0 for the empty one, and another one for every other."""
    listed = sorted((one.user, one.number) for one in penalties)
    if not listed:
        return 0
    digest = hashlib.blake2b(repr(listed).encode(), digest_size=_MARK_BYTES).digest()
    return 1 + int.from_bytes(digest)
