"""A ledger to open, two users to count, and a desired state to hold."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent import ledger
from agent.core import plan
from agent.core.counting import Count, Meter
from shared.messages import Account, Endpoint, Item
from shared.names import EndpointId, UserId

#: A moment, in ms since the epoch.
AT_MS = 1_800_000_000_000
ALICE, BOB = Meter(UserId(1), EndpointId(1)), Meter(UserId(2), EndpointId(1))
HELD = plan.Holding(
    generation=7,
    items={
        "endpoint/1": Item(
            key="endpoint/1",
            generation=3,
            body=Endpoint(endpoint=EndpointId(1), protocol="vless", port=443),
        ),
        "account/1/1": Item(
            key="account/1/1",
            generation=7,
            body=Account(user=UserId(1), endpoint=EndpointId(1), uuid="u1"),
        ),
    },
    stopped={UserId(1): 7},
)


@contextmanager
def opened(path: Path) -> Iterator[ledger.Ledger]:
    book = ledger.open_ledger(path)
    try:
        yield book
    finally:
        book.close()


def totals(book: ledger.Ledger) -> dict[Meter, Count]:
    return {which: standing.total for which, standing in book.standings.items()}
