"""Slows down guessing of passwords, by account and altogether (OWASP ASVS 6.3.1).

What always holds: an attempt is paid for before it is checked, so a thousand at once are no way round;
memory is bounded; a right password costs nothing. Keyed by account, since a client's address says nothing
behind a proxy and is not kept anywhere.
"""

from collections import OrderedDict
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limit:
    """Failures that may come at once, and how fast that many come back."""

    burst: int
    per_s: float


PER_ACCOUNT = Limit(burst=5, per_s=0.1)
TOGETHER = Limit(burst=50, per_s=2.0)
MAX_ACCOUNTS = 4096


@dataclass
class _Bucket:
    left: float
    at_s: float

    def refill(self, limit: Limit, now_s: float) -> None:
        self.left = min(limit.burst, self.left + (now_s - self.at_s) * limit.per_s)
        self.at_s = now_s


class Throttle:
    """Failures by account, the least recently tried forgotten first."""

    def __init__(self, per_account: Limit = PER_ACCOUNT, together: Limit = TOGETHER) -> None:
        self._per_account = per_account
        self._together = together
        self._accounts: OrderedDict[str, _Bucket] = OrderedDict()
        self._all = _Bucket(together.burst, 0.0)

    def take(self, account: str, now_s: float) -> float:
        """Pay for an attempt; returns 0.0, or the seconds to wait when it may not be made."""
        bucket = self._bucket(account, now_s)
        self._all.refill(self._together, now_s)
        wait_s = max(_wait_s(bucket, self._per_account), _wait_s(self._all, self._together))
        if wait_s == 0.0:
            bucket.left -= 1
            self._all.left -= 1
        return wait_s

    def give_back(self, account: str, now_s: float) -> None:
        """The attempt was right: it cost nothing."""
        bucket = self._bucket(account, now_s)
        bucket.left = min(self._per_account.burst, bucket.left + 1)
        self._all.left = min(self._together.burst, self._all.left + 1)

    def _bucket(self, account: str, now_s: float) -> _Bucket:
        bucket = self._accounts.setdefault(account, _Bucket(self._per_account.burst, now_s))
        self._accounts.move_to_end(account)
        if len(self._accounts) > MAX_ACCOUNTS:
            self._accounts.popitem(last=False)
        bucket.refill(self._per_account, now_s)
        return bucket


def _wait_s(bucket: _Bucket, limit: Limit) -> float:
    return 0.0 if bucket.left >= 1 else (1 - bucket.left) / limit.per_s
