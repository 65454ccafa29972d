"""Sessions: told by nodes as hashes of addresses, shown to admins and managers as counts.

What always holds: no hash and no device leaves the collector again; a body that is not what an agent sends is
refused as a whole, and a row whose hash is none counts nothing.
"""

import msgspec

from collector.app import users
from collector.domain import sessions as rules
from collector.domain.penalties import Penalty, Reason
from collector.fronts.rest import bodies, problems, routes
from collector.fronts.rest.parts import Parts
from collector.fronts.rest.routes import Call, Route
from shared.messages import Sightings, SightingsAnswer
from shared.names import MAX_SIGHTINGS, EndpointId, UserId

_MAX_BYTES = 2 * 1024 * 1024
_SIGHTINGS = msgspec.json.Decoder(Sightings)


class EndpointSessions(msgspec.Struct, frozen=True):
    """From how many addresses a user is connected to an endpoint."""

    endpoint: EndpointId
    sessions: int


class PlaceSessions(msgspec.Struct, frozen=True):
    """From how many addresses he is connected in a place; null is what is not known."""

    country: str | None
    city: str | None
    isp: str | None
    sessions: int


class PenaltyView(msgspec.Struct, frozen=True):
    """Who may not be served, why, and for how many seconds more."""

    user: UserId
    reason: Reason
    for_s: float


class UserSessions(msgspec.Struct, frozen=True, kw_only=True):
    """A user's sessions: unique addresses, IPv6 by /64, over all nodes.

    `sessions` is never shown higher than one more than can be allowed.
    """

    user: UserId
    online: bool
    sessions: int
    max_concurrent: int | None
    online_s: float | None
    endpoints: list[EndpointSessions]
    places: list[PlaceSessions]
    penalty: PenaltyView | None
    first_connected_ms: int | None
    last_connected_ms: int | None


class AllSessions(msgspec.Struct, frozen=True, kw_only=True):
    """How many users are online, from how many addresses; a page of those with a penalty, by user."""

    online_users: int
    sessions: int
    penalised: list[PenaltyView]
    next: int | None


async def sight(parts: Parts, call: Call[Sightings]) -> SightingsAnswer:
    """Take what a node sees."""
    return await parts.sessions.sight(call.node, call.body)


def decode(content: bytes) -> Sightings:
    """The sightings of a node. Raises Rejected when these are none."""
    try:
        sightings = _SIGHTINGS.decode(content)
    except msgspec.ValidationError as wrong:
        raise problems.malformed(f"these are no sightings: {wrong}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise bodies.not_json() from None
    if len(sightings.rows) > MAX_SIGHTINGS:
        raise problems.malformed(f"send at most {MAX_SIGHTINGS} rows at once")
    return sightings


async def of_user(parts: Parts, call: Call[None]) -> UserSessions:
    """A user's sessions."""
    user = await parts.data.read(users.one, UserId(call.id), call.actor)
    person, penalty = parts.sessions.person(user.id), parts.sessions.penalties().get(user.id)
    sights = [] if person is None else person.sights
    endpoints = [EndpointSessions(*one) for one in sorted(rules.by_endpoint(sights).items())]
    return UserSessions(
        user=user.id,
        online=person is not None,
        sessions=rules.count(sights),
        max_concurrent=user.max_concurrent,
        online_s=None if person is None else round(parts.sessions.ago_s(person.since_s), 3),
        endpoints=endpoints,
        places=_places(sights),
        penalty=None if penalty is None else _shown(parts, penalty),
        first_connected_ms=user.first_connected_ms,
        last_connected_ms=user.last_connected_ms,
    )


async def every(parts: Parts, call: Call[None]) -> AllSessions:
    """Totals, and who has a penalty."""
    counts = parts.sessions.counts()
    after, limit = call.query["after"], call.query["limit"]
    listed = sorted(parts.sessions.penalties().items())
    page = [_shown(parts, one) for user, one in listed if user > after][:limit]
    return AllSessions(
        online_users=counts.online,
        sessions=counts.sessions,
        penalised=page,
        next=routes.after(call, [one.user for one in page]),
    )


async def lift(parts: Parts, call: Call[None]) -> None:
    """End a user's penalty."""
    user = await parts.data.read(users.one, UserId(call.id), call.actor)
    await parts.sessions.lift(user.id, call.actor)


def _places(sights: list[rules.Sight]) -> list[PlaceSessions]:
    counted = [
        PlaceSessions(place.country, place.city, place.isp, count)
        if place
        else PlaceSessions(None, None, None, count)
        for place, count in rules.by_place(sights).items()
    ]
    return sorted(counted, key=lambda one: (-one.sessions, one.country or "", one.city or "", one.isp or ""))


def _shown(parts: Parts, penalty: Penalty) -> PenaltyView:
    return PenaltyView(penalty.user, penalty.reason, round(-parts.sessions.ago_s(penalty.until_s), 3))


ROUTES = (
    Route(
        method="POST",
        path="/api/v1/nodes/sessions",
        handler=sight,
        roles=routes.NODES,
        summary="Tell who is connected, by keyed hashes of addresses; without rows, get the key.",
        body=Sightings,
        max_bytes=_MAX_BYTES,
        decode=decode,
        answer=SightingsAnswer,
    ),
    Route(
        method="GET",
        path="/api/v1/sessions",
        handler=every,
        roles=routes.ADMINS,
        summary="Count users online and their sessions; list penalties by user.",
        query=routes.PAGING,
        answer=AllSessions,
    ),
    Route(
        method="GET",
        path="/api/v1/users/{id}/sessions",
        handler=of_user,
        roles=routes.RESELLERS,
        summary="Show from how many addresses a user is connected.",
        answer=UserSessions,
    ),
    Route(
        method="DELETE",
        path="/api/v1/users/{id}/penalty",
        handler=lift,
        roles=routes.RESELLERS,
        summary="End a user's penalty; he is served again at once.",
        status=204,
    ),
)
