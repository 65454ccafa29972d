"""Retention: drops events older than their days, in small transactions; reports wait for one at most.

What always holds: a run that finds nothing old changes nothing.
"""

from collections.abc import Callable

from collector.app import journal
from collector.tasks.clock import Transactions

#: Events, or users, in one transaction.
BATCH = 500
_DAY_MS = 86_400_000


async def run(data: Transactions, days: int, now_ms: Callable[[], int]) -> None:
    """Drop events older than so many days; 0 keeps all."""
    told = BATCH
    while told == BATCH:
        told = (await data.write(journal.tell_untold, BATCH, now_ms())).value
    dropped = BATCH if days else 0
    while dropped == BATCH:
        now = now_ms()
        dropped = (await data.write(journal.cut, now - days * _DAY_MS, BATCH, now)).value
