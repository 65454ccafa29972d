"""What anybody may ask: whether the collector lives, its CA, and what its API is."""

from typing import Any, Literal

import msgspec

from collector.domain.refusals import Kind, Refused
from collector.fronts.rest import routes
from collector.fronts.rest.parts import Parts
from collector.fronts.rest.routes import Call, Route


class Health(msgspec.Struct, frozen=True):
    """The collector answers and its database can be read."""

    status: Literal["ok"] = "ok"


async def health(parts: Parts, _call: Call[None]) -> Health:
    """Ask the database for nothing."""
    await parts.data.read(_nothing)
    return Health()


async def authority(parts: Parts, _call: Call[None]) -> str:
    """The certificate of our own CA; agents check it against the hash in their enrolment line."""
    if parts.joining.ca_pem is None:
        raise Refused(Kind.NOT_FOUND, "this collector has no CA of its own; trust its certificate as usual")
    return parts.joining.ca_pem


async def description(parts: Parts, _call: Call[None]) -> bytes:
    """The OpenAPI document."""
    return parts.document


def _nothing(_session: Any) -> None:  # noqa: ANN401 - the store's own, which fronts pass on unseen
    pass


ROUTES = (
    Route(
        method="GET",
        path="/healthz",
        handler=health,
        roles=routes.ANYBODY,
        summary="Tell whether the collector works.",
        answer=Health,
    ),
    Route(
        method="GET",
        path="/api/v1/ca",
        handler=authority,
        roles=routes.ANYBODY,
        summary="Get the certificate of the collector's own CA, in PEM.",
        answer=str,
        media="application/x-pem-file",
    ),
    Route(
        method="GET",
        path="/api/v1/openapi.json",
        handler=description,
        roles=routes.ANYBODY,
        summary="Get this description.",
        answer=dict[str, Any],
    ),
)
