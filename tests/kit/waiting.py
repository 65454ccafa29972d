"""Waiting for a condition with a deadline: the only way anything under `tests/` waits."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_TICK_S = 0.01


def until(condition: Callable[[], T | None], *, within_s: float, what: str) -> T:
    """Ask until the condition gives something true, and return that.

    Raises:
        TimeoutError: it did not within `within_s` seconds; the message says what was waited for.
    """
    deadline = time.monotonic() + within_s
    tick = threading.Event()
    while True:
        if answer := condition():
            return answer
        if time.monotonic() >= deadline:
            raise TimeoutError(f"waited {within_s:g} s for {what}")
        tick.wait(_TICK_S)
