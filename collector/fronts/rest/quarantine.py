"""Held rows of reports, for admins."""

import msgspec

from collector.app import quarantine
from collector.fronts.rest import routes
from collector.fronts.rest.parts import Parts
from collector.fronts.rest.routes import Call, Route


class Quarantine(msgspec.Struct, frozen=True):
    """All held rows, the open ones first."""

    quarantine: list[quarantine.Held]


async def every(parts: Parts, _call: Call[None]) -> Quarantine:
    """All held rows."""
    return Quarantine(await parts.data.read(quarantine.every))


async def accept(parts: Parts, call: Call[None]) -> None:
    """Bill a held row."""
    await parts.change(quarantine.accept, call.id, call.actor, parts.now_ms())


async def dismiss(parts: Parts, call: Call[None]) -> None:
    """Do not bill a held row."""
    await parts.change(quarantine.dismiss, call.id, call.actor, parts.now_ms())


ROUTES = (
    Route(
        method="GET",
        path="/api/v1/quarantine",
        handler=every,
        roles=routes.ADMINS,
        summary="List rows of reports that were not billed.",
        answer=Quarantine,
    ),
    Route(
        method="POST",
        path="/api/v1/quarantine/{id}/accept",
        handler=accept,
        roles=routes.ADMINS,
        summary="Bill a held row.",
        status=204,
    ),
    Route(
        method="POST",
        path="/api/v1/quarantine/{id}/dismiss",
        handler=dismiss,
        roles=routes.ADMINS,
        summary="Do not bill a held row; its totals become the new base.",
        status=204,
    ),
)
