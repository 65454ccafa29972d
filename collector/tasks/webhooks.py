"""Posts stored events in batches, as far as there are any; what is not confirmed is posted again."""

from collections.abc import Awaitable, Callable

from collector.app import webhooks
from collector.domain import webhooks as rules
from collector.tasks.clock import Transactions

#: Events in one batch.
BATCH = 100


async def run(data: Transactions, post: Callable[[bytes], Awaitable[None]]) -> None:
    """Post everything that waits; `post` raises when a batch has not arrived."""
    if not await data.read(webhooks.begun):
        await data.write(webhooks.begin)
    while batch := await data.read(webhooks.waiting, BATCH):
        await post(rules.body(batch))
        await data.write(webhooks.sent, batch[-1].number)
