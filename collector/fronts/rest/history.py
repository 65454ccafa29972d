"""Usage by the hour, day or month, and who moved most: for admins, and of their users for managers."""

from typing import Any

import msgspec

from collector.app import history
from collector.domain import resets
from collector.domain.history import By, History, Order, Question, Ranked, Step
from collector.fronts.rest import routes
from collector.fronts.rest.parts import Parts
from collector.fronts.rest.routes import Call, Query, Route, Word
from shared.names import EndpointId, NodeId, UserId

#: 3000-01-01 in UTC.
_LATEST_MS = 32_503_680_000_000

FROM = Query(
    name="from_ms",
    default=0,
    low=0,
    high=_LATEST_MS,
    summary="First moment, in ms since the epoch; 0 for a day of hours, 31 days or a year of months.",
)
TO = Query(
    name="to_ms",
    default=0,
    low=0,
    high=_LATEST_MS,
    summary="End, in ms since the epoch; hours that begin before it count. 0 for now.",
)
STEP = Word(
    name="step",
    default=Step.DAY.value,
    among=tuple(step.value for step in Step),
    summary="What is added up: hours (32 days at most), days (400), months (3700).",
)
ZONE = Word(
    name="zone",
    default="",
    wrong=resets.wrong_zone,
    summary="Whose days and months, as in Europe/Berlin; left out, the collector's.",
)
BY = Word(name="by", default=By.USER.value, among=tuple(by.value for by in By), summary="Who is ranked.")
ORDER = Word(
    name="order",
    default=Order.RAW.value,
    among=tuple(order.value for order in Order),
    summary="By bytes as they were moved, or as they were billed.",
)
MOST = Query(name="limit", default=10, low=1, high=1000, summary="How many at most.")
_ASKED = (FROM, TO, STEP, ZONE)


class Top(msgspec.Struct, frozen=True):
    """Those who moved most between two moments, the first one most of all."""

    by: By
    order: Order
    top: list[Ranked]


async def of_user(parts: Parts, call: Call[None]) -> History:
    """What a user moved."""
    user, question = UserId(call.id), _question(parts, call)
    async with parts.looking_back:
        return await parts.data.read(history.of_user, user, question, parts.now_ms(), call.actor)


async def of_node(parts: Parts, call: Call[None]) -> History:
    """What was moved over a node."""
    async with parts.looking_back:
        return await parts.data.read(history.of_node, NodeId(call.id), _question(parts, call), parts.now_ms())


async def of_endpoint(parts: Parts, call: Call[None]) -> History:
    """What was moved over an endpoint."""
    endpoint, question = EndpointId(call.id), _question(parts, call)
    async with parts.looking_back:
        return await parts.data.read(history.of_endpoint, endpoint, question, parts.now_ms())


async def of_all(parts: Parts, call: Call[None]) -> History:
    """What everybody moved."""
    async with parts.looking_back:
        return await parts.data.read(history.of_all, _question(parts, call), parts.now_ms())


async def top(parts: Parts, call: Call[None]) -> Top:
    """Who moved most."""
    by, order, most = By(call.words["by"]), Order(call.words["order"]), call.query["limit"]
    question = Question(from_ms=call.query["from_ms"], to_ms=call.query["to_ms"], step=Step.DAY, zone="UTC")
    async with parts.looking_back:
        ranked = await parts.data.read(history.top, by, question, order, most, parts.now_ms())
    return Top(by, order, ranked)


def _question(parts: Parts, call: Call[Any]) -> Question:
    return Question(
        from_ms=call.query["from_ms"],
        to_ms=call.query["to_ms"],
        step=Step(call.words["step"]),
        zone=call.words["zone"] or parts.zone,
    )


ROUTES = (
    Route(
        method="GET",
        path="/api/v1/users/{id}/usage/history",
        handler=of_user,
        roles=routes.RESELLERS,
        summary="Show what a user moved by the hour, day or month, also one who was removed.",
        query=_ASKED,
        answer=History,
    ),
    Route(
        method="GET",
        path="/api/v1/nodes/{id}/usage/history",
        handler=of_node,
        roles=routes.ADMINS,
        summary="Show what was moved over a node by the hour, day or month.",
        query=_ASKED,
        answer=History,
    ),
    Route(
        method="GET",
        path="/api/v1/endpoints/{id}/usage/history",
        handler=of_endpoint,
        roles=routes.ADMINS,
        summary="Show what was moved over an endpoint by the hour, day or month.",
        query=_ASKED,
        answer=History,
    ),
    Route(
        method="GET",
        path="/api/v1/usage/history",
        handler=of_all,
        roles=routes.ADMINS,
        summary="Show what everybody moved by the hour, day or month.",
        query=_ASKED,
        answer=History,
    ),
    Route(
        method="GET",
        path="/api/v1/usage/top",
        handler=top,
        roles=routes.ADMINS,
        summary="Rank the users, nodes or endpoints by what they moved, over 32 days at most.",
        query=(FROM, TO, BY, ORDER, MOST),
        answer=Top,
    ),
)
