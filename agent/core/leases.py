"""Leases on the node: up to where a limited user may be served without asking (design: Quota).

What always holds:
- A ceiling is an absolute total of this ledger, so a user whose total has reached it is stopped by comparing
  two numbers, whatever was lost, repeated or late. A renewal smaller than what he is already over does not
  bring him back.
- A node lowers a ceiling in its own books before it says so; only what was said can be given to others.
- A node that nobody answered for `TERM_S` seconds since boot, sleep included, serves no limited user. Its
  leases do not come back with the next answer: it gives them up before it asks for that.
"""

from collections.abc import Mapping
from typing import NamedTuple

from shared.messages import Account, Lease
from shared.names import LEASE_TERM_S, UserId

#: Seconds that leases outlive the last answered report: an outage of a day is not an outage of the service.
TERM_S = float(LEASE_TERM_S)
#: Seconds after which a quiet node reports all the same, so that its leases live on.
KEEP_S = 3_600.0
#: Seconds without a byte after which a node gives back everything when it is asked to.
RECALL_IDLE_S = 2.0
#: Seconds without a byte after which a node gives back what it holds of a user beyond his spare.
IDLE_S = 15.0


class Moved(NamedTuple):
    """Bytes of one user since the ledger began, over all endpoints of this node."""

    up: int = 0
    down: int = 0


def covers(lease: Lease, moved: Moved) -> bool:
    """Whether a user who has moved this much may go on."""
    return (
        (lease.total is None or moved.up + moved.down < lease.total)
        and (lease.up is None or moved.up < lease.up)
        and (lease.down is None or moved.down < lease.down)
    )


def serves(account: Account, leases: Mapping[UserId, Lease], moved: Mapping[UserId, Moved]) -> bool:
    """Whether a node may serve this account: unlimited, or under a lease of its terms with room left."""
    if account.terms is None:
        return True
    lease = leases.get(account.user)
    if lease is None or lease.terms != account.terms:
        return False
    return covers(lease, moved.get(account.user, Moved()))


def cut_down(lease: Lease, moved: Moved, spare: int) -> Lease | None:
    """The lease with all but `spare` bytes given back; None when there is nothing to give."""
    total = _cut_down(lease.total, moved.up + moved.down, spare)
    up, down = _cut_down(lease.up, moved.up, spare), _cut_down(lease.down, moved.down, spare)
    less = Lease(lease.user, lease.terms, lease.spare, total, up, down)
    return None if less == lease else less


def held(user: UserId, lease: Lease | None, moved: Moved) -> Lease:
    """Up to where this node has served or may serve a user, for a collector that has forgotten it."""
    known = lease or Lease(user, terms=0)
    return Lease(
        user,
        known.terms,
        known.spare,
        max(known.total or 0, moved.up + moved.down),
        max(known.up or 0, moved.up),
        max(known.down or 0, moved.down),
    )


def _cut_down(ceiling: int | None, moved: int, spare: int) -> int | None:
    return None if ceiling is None else min(ceiling, moved + spare)
