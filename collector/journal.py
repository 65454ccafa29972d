"""What goes on with events beside the API: they are handed to receivers, posted to a webhook, and dropped.

What always holds: none of these loops ends by itself; what fails is logged and tried again.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable, Coroutine
from typing import Any

from collector.app import events
from collector.domain import webhooks as rules
from collector.receivers import Receivers
from collector.settings import Settings, Webhook
from collector.store.database import Database
from collector.tasks import retention, webhooks
from collector.webhook import Receiver, WebhookError
from shared import logs

LOGGER = logging.getLogger(__name__)

_RETAIN_EVERY_S = 3600.0
_POST_EVERY_S = 1.0
_AGAIN_S = 1.0


def loops(
    data: Database, settings: Settings, receivers: Receivers, now_ms: Callable[[], int]
) -> list[Coroutine[Any, Any, None]]:
    """What is to run beside the server."""
    always = [_follow(data, receivers), _retain(data, settings.events_days, now_ms)]
    return always if settings.webhook is None else [*always, _post(data, settings.webhook, now_ms)]


async def _follow(data: Database, receivers: Receivers) -> None:
    while True:
        try:
            await receivers.follow(lambda after, limit: data.read(events.page, after, limit))
        except Exception:
            LOGGER.exception("follow_failed")
        await asyncio.sleep(_AGAIN_S)


async def _retain(data: Database, days: int, now_ms: Callable[[], int]) -> None:
    while True:
        try:
            await retention.run(data, days, now_ms)
        except Exception:
            LOGGER.exception("retention_failed")
        await asyncio.sleep(_RETAIN_EVERY_S)


async def _post(data: Database, webhook: Webhook, now_ms: Callable[[], int]) -> None:
    trust = ssl.create_default_context()
    receiver = Receiver(url=webhook.url, secret=webhook.secret, now_ms=now_ms, trust=trust)
    failures = 0
    while True:
        try:
            await webhooks.run(data, receiver.post)
            failures = 0
        except WebhookError as error:
            failures += 1
            logs.event(LOGGER, logging.WARNING, "webhook_failed", reason=str(error), failures=failures)
        except Exception:
            failures += 1
            LOGGER.exception("webhook_failed")
        await asyncio.sleep(rules.wait_s(failures) if failures else _POST_EVERY_S)
