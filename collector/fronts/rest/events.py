"""Events: who changed what, and what the collector decided; also as they happen (rows H8, H13, R4).

Admins see all of them, managers what is about themselves and whoever is below them.
"""

import re
import time
from collections.abc import AsyncIterator

import msgspec

from collector.app import events
from collector.domain import stream as streams
from collector.domain.events import Kind, Recorded, Wanted
from collector.domain.refusals import Refused
from collector.fronts.rest import routes
from collector.fronts.rest.parts import Parts
from collector.fronts.rest.routes import Call, Query, Route, Word
from shared.names import MAX_POLL_WAIT_S, UserId

_NAMED = re.compile(r"[a-z]+:[0-9]{1,18}")


def _wrong_name(text: str) -> str | None:
    return None if _NAMED.fullmatch(text) else "use what it is and its id, as in user:7 or admin:1"


def _wrong_cursor(text: str) -> str | None:
    return None if streams.parse(text) else "use the `next` of the page before, or leave it out"


_SUBJECT = Word(
    name="subject", default="", wrong=_wrong_name, summary="What the events are about, as in user:7."
)
_ACTOR = Word(
    name="actor",
    default="",
    wrong=_wrong_name,
    summary="Who made them, as in admin:1; system:0 is the collector, admin:0 its command line.",
)
_KIND = Word(name="kind", default="", among=tuple(Kind), summary="What happened.")
_FROM = Query(name="from_ms", default=0, low=0, high=10**15, summary="The first moment; 0 for the first.")
_TO = Query(name="to_ms", default=0, low=0, high=10**15, summary="The moment after the last; 0 for none.")
_WHICH = (_SUBJECT, _ACTOR, _KIND)
_FILTERS = (*routes.PAGING, *_WHICH, _FROM, _TO)
_CURSOR = Word(name="after", default="", wrong=_wrong_cursor, summary="The `next` of the page before.")
_WAIT = Query(
    name="wait", default=0, low=0, high=MAX_POLL_WAIT_S, summary="Seconds to go on for; then ask again."
)
#: How long nothing may be sent: a client that has gone is noticed by sending.
_QUIET_S = 10.0
_STORED = 500


class Events(msgspec.Struct, frozen=True):
    """A page of events; `next` is the `after` of the next page, null on the last one.

    A manager is shown what is about himself and whoever is below him: of a page that may be nothing.
    """

    events: list[Recorded]
    next: int | None


class Stream(msgspec.Struct, frozen=True):
    """A page of a user's events and of his usage by the hour, in the order of time.

    `next` is the `after` of the next page, null on the last one, which tells the open hour too.
    """

    events: list[Recorded]
    next: str | None


class Audit(msgspec.Struct, frozen=True):
    """A page of what people did; `next` is the `after` of the next page, null on the last one."""

    entries: list[events.Entry]
    next: int | None


async def page(parts: Parts, call: Call[None]) -> Events:
    """Some of the events, in their order."""
    after, limit = call.query["after"], call.query["limit"]
    return Events(*await parts.data.read(events.listed, after, limit, _wanted(call), call.actor))


async def audit(parts: Parts, call: Call[None]) -> Audit:
    """Who did what, when."""
    after, limit = call.query["after"], call.query["limit"]
    return Audit(*await parts.data.read(events.audit, after, limit, _wanted(call), call.actor))


async def of_user(parts: Parts, call: Call[None]) -> Stream:
    """All that happened to a user."""
    after = streams.parse(call.words["after"]) or streams.Cursor()
    user, limit = UserId(call.id), call.query["limit"]
    found = await parts.data.read(events.of_user, user, after, limit, parts.now_ms(), call.actor)
    return Stream(found.events, None if found.next is None else str(found.next))


async def live(parts: Parts, call: Call[None]) -> AsyncIterator[str]:
    """Events as they happen."""
    since = await parts.data.read(events.newest)
    return _lines(parts, call, since)


async def _lines(parts: Parts, call: Call[None], since: int) -> AsyncIterator[str]:
    ends_s = time.monotonic() + call.query["wait"]
    sent, told = call.query["after"] or since, 0
    with parts.receivers.listening(_wanted(call), since) as receiver:
        async for event in _stored(parts, call, sent):
            sent = event.number
            yield _line(event)
        while (left_s := ends_s - time.monotonic()) > 0 and not receiver.closed:
            taken = await receiver.take(min(left_s, _QUIET_S))
            if not await _stands(parts, call):
                return
            for event in await _seen(parts, call, taken):
                if event.number > sent:
                    sent = event.number
                    yield _line(event)
            if receiver.dropped > told:
                told = receiver.dropped
                yield f'event: dropped\ndata: {{"count":{told}}}\n\n'
            yield ":\n\n"


async def _stored(parts: Parts, call: Call[None], after: int) -> AsyncIterator[Recorded]:
    found = await parts.data.read(events.page, after, _STORED, _wanted(call))
    while found:
        for event in await _seen(parts, call, found):
            yield event
        found = await parts.data.read(events.page, found[-1].number, _STORED, _wanted(call))


async def _seen(parts: Parts, call: Call[None], found: list[Recorded]) -> list[Recorded]:
    return await parts.data.read(events.seen, call.actor, found) if call.actor.manager else found


async def _stands(parts: Parts, call: Call[None]) -> bool:
    try:
        await parts.callers.confirm(call.caller)
    except Refused:
        return False
    return True


def _line(event: Recorded) -> str:
    data = msgspec.json.encode(event).decode()
    return f"id: {event.number}\nevent: {event.kind}\ndata: {data}\n\n"


def _wanted(call: Call[None]) -> Wanted:
    words = call.words
    return Wanted(
        subject=words["subject"] or None,
        actor=words["actor"] or None,
        kind=words["kind"] or None,
        from_ms=call.query.get("from_ms") or None,
        to_ms=call.query.get("to_ms") or None,
    )


ROUTES = (
    Route(
        method="GET",
        path="/api/v1/events",
        handler=page,
        roles=routes.RESELLERS,
        summary="List events in their order.",
        query=_FILTERS,
        answer=Events,
    ),
    Route(
        method="GET",
        path="/api/v1/events/stream",
        handler=live,
        roles=routes.RESELLERS,
        summary="Get events as they happen, as server-sent events; a slow reader is told what was dropped.",
        query=(routes.AFTER, *_WHICH, _WAIT),
        answer=str,
        media=routes.STREAM,
    ),
    Route(
        method="GET",
        path="/api/v1/users/{id}/events",
        handler=of_user,
        roles=routes.RESELLERS,
        summary="List what happened to a user and what he used by the hour, in the order of time.",
        query=(_CURSOR, routes.LIMIT),
        answer=Stream,
    ),
    Route(
        method="GET",
        path="/api/v1/audit",
        handler=audit,
        roles=routes.RESELLERS,
        summary="List who did what when: events that people made, with fields before and after.",
        query=_FILTERS,
        answer=Audit,
    ),
)
