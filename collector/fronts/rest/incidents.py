"""Incidents on nodes, for admins."""

import msgspec

from collector.app import incidents
from collector.fronts.rest import routes
from collector.fronts.rest.parts import Parts
from collector.fronts.rest.routes import Call, Route


class Incidents(msgspec.Struct, frozen=True):
    """A page of incidents; `next` is the `after` of the next page, null on the last one."""

    incidents: list[incidents.Seen]
    next: int | None


async def page(parts: Parts, call: Call[None]) -> Incidents:
    """Some of the incidents, in the order they arrived."""
    found = await parts.data.read(incidents.page, call.query["after"], call.query["limit"])
    return Incidents(found, routes.after(call, [one.id for one in found]))


ROUTES = (
    Route(
        method="GET",
        path="/api/v1/incidents",
        handler=page,
        roles=routes.ADMINS,
        summary="List what went wrong on nodes, in the order it arrived.",
        query=routes.PAGING,
        answer=Incidents,
    ),
)
