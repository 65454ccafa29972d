"""Events, for admins: who changed what, and what the collector decided."""

import msgspec

from collector.app import events
from collector.fronts.rest import routes
from collector.fronts.rest.parts import Parts
from collector.fronts.rest.routes import Call, Route


class Events(msgspec.Struct, frozen=True):
    """A page of events; `next` is the `after` of the next page, null on the last one."""

    events: list[events.Event]
    next: int | None


async def page(parts: Parts, call: Call[None]) -> Events:
    """Some of the events, in their order."""
    found = await parts.data.read(events.page, call.query["after"], call.query["limit"])
    return Events(found, routes.after(call, [one.number for one in found]))


ROUTES = (
    Route(
        method="GET",
        path="/api/v1/events",
        handler=page,
        roles=routes.ADMINS,
        summary="List events in their order.",
        query=routes.PAGING,
        answer=Events,
    ),
)
