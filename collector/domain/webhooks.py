"""Webhooks: batches of events as they are posted, signed so that it can be told who sent them (row T7).

What always holds: an event is posted at least once, in the order of the numbers. Its number and its moment
are its key: after a restored backup a number may come again, for another event.
"""

import hashlib
import hmac
from collections.abc import Sequence

import msgspec

from collector.domain.events import Recorded

#: Names the moment of sending in seconds and the signature: `t=1800000000,v1=0a1b…`.
SIGNATURE = "Tidegate-Signature"
#: Waits between attempts double up to this.
_LONGEST_S = 300.0


def body(events: Sequence[Recorded]) -> bytes:
    """A batch as JSON."""
    return msgspec.json.encode({"events": events})


def signature(secret: str, sent_s: int, content: bytes) -> str:
    """The value of the header: HMAC-SHA256 of the moment, a dot and the body."""
    signed = hmac.new(secret.encode(), f"{sent_s}.".encode() + content, hashlib.sha256)
    return f"t={sent_s},v1={signed.hexdigest()}"


def wait_s(failures: int) -> float:
    """Seconds until the next attempt after so many failures in a row."""
    return float(min(_LONGEST_S, 2.0 ** min(failures, 16)))
