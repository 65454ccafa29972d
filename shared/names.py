"""Identifiers that travel between agent and collector, and the limits both sides hold them to.

Ids are positive integers given out by the collector and never used twice.
"""

from typing import NewType

UserId = NewType("UserId", int)
EndpointId = NewType("EndpointId", int)
NodeId = NewType("NodeId", int)
LedgerId = NewType("LedgerId", str)
ManagerId = NewType("ManagerId", int)

#: SQLite and PostgreSQL both keep signed 64-bit integers; a larger total is absurd before it is an overflow.
MAX_BYTES = 2**63 - 1

#: Ids are counted up from one; a larger number is nobody's.
MAX_ID = 2**31 - 1

#: Rows of one usage report. A thousand rows are about 60 kB of JSON; this bounds memory on both sides.
MAX_REPORT_ROWS = 10_000

#: Sightings of one message: 120 kB of JSON at most, without places, and 3 ms of the collector's time.
MAX_SIGHTINGS = 2_000

#: Addresses of one user that a node tells of; a flood of them is told by its first ones.
MAX_USER_SIGHTINGS = 128

#: Every zone's hours begin at a multiple of this, so every period does.
QUARTER_MS = 15 * 60 * 1000

#: Seconds after its last answered report for which a node serves under its leases; then they are void.
LEASE_TERM_S = 86_400

#: Seconds a node may wait for news in one long poll; longer waits die in middle boxes unnoticed.
MAX_POLL_WAIT_S = 55


def account_key(user: UserId, endpoint: EndpointId) -> str:
    """Name of an account as an item of a node's desired state."""
    return f"account/{user}/{endpoint}"


def endpoint_key(endpoint: EndpointId) -> str:
    """Name of an endpoint as an item of a node's desired state."""
    return f"endpoint/{endpoint}"
