"""The account after a load: what everybody has to pay, held against what was reported of him.

What always holds: every user is looked at as an admin sees him, by the API, and every manager as the database
has him; what they ought to pay is worked out from the reports that were confirmed, not from what is stored.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from collector.store import managers
from shared.names import ManagerId, NodeId, UserId
from tests.bench.load import shape as shapes
from tests.bench.load.collector import Collector
from tests.bench.load.shape import Shape

_PAGE = 1_000


def astray(collector: Collector, shape: Shape, rounds: Mapping[NodeId, int]) -> int:
    """Bytes between what everybody pays and what he ought to, added up over users and managers."""
    up, down = Counter[ManagerId](), Counter[ManagerId]()
    off, seen = 0, 0
    for user in _users(collector):
        number, seen = UserId(user["id"]), seen + 1
        owed_up, owed_down = shapes.expected(shape, number, rounds)
        off += abs(int(user["life_up_bytes"]) - owed_up) + abs(int(user["life_down_bytes"]) - owed_down)
        for manager in shapes.managers_of(number):
            up[manager] += owed_up
            down[manager] += owed_down
    if seen != shape.users:
        raise RuntimeError(f"the collector knows {seen} users of {shape.users}")
    with contextlib.closing(collector.store.open()) as data:
        found = data.read_now(managers.every)
    if len(found) != shapes.MANAGERS:
        raise RuntimeError(f"the collector knows {len(found)} managers of {shapes.MANAGERS}")
    return off + sum(
        abs(one.life_up_bytes - up[one.id]) + abs(one.life_down_bytes - down[one.id]) for one in found
    )


def _users(collector: Collector) -> Iterator[dict[str, Any]]:
    after = 0
    with contextlib.closing(collector.talk()) as talk:
        while found := talk.call("GET", f"/users?limit={_PAGE}&after={after}", token=collector.token)[
            "users"
        ]:
            yield from found
            after = found[-1]["id"]
