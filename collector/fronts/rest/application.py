"""The ASGI application: finds the route, admits the caller, decodes, calls, answers.

What always holds: whatever comes in, what goes out is the route's answer or a problem in words.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route as Path

from collector.domain.refusals import Refused
from collector.fronts.rest import bodies, problems, routes
from collector.fronts.rest.parts import Parts
from collector.fronts.rest.routes import Call, Route

_ENCODER = msgspec.json.Encoder()
_HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


class _Number(Convertor[int]):
    """An id in a path: one that a database column can hold, or there is nothing at this path."""

    regex = "[0-9]{1,18}"

    def convert(self, value: str) -> int:
        return int(value)

    def to_string(self, value: int) -> str:
        return str(value)


register_url_convertor("number", _Number())


def application(parts: Parts, table: Sequence[Route]) -> Starlette:
    """The application that serves this table."""
    by_path: dict[str, dict[str, Route]] = {}
    for route in table:
        by_path.setdefault(route.path, {})[route.method] = route
    paths = [_path(parts, path, methods) for path, methods in by_path.items()]
    made = Starlette(routes=paths, exception_handlers={HTTPException: _unrouted})
    made.router.redirect_slashes = False
    return made


def _path(parts: Parts, path: str, methods: Mapping[str, Route]) -> Path:
    async def endpoint(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        return await _answer(parts, methods[method], request)

    for name in routes.IN_PATH:
        path = path.replace(f"{{{name}}}", f"{{{name}:number}}")
    return Path(path, endpoint, methods=list(methods))


async def _answer(parts: Parts, route: Route, request: Request) -> Response:
    try:
        return _success(route, await route.handler(parts, await _call(parts, route, request)))
    except Refused as refused:
        return problems.from_refusal(refused)
    except problems.Rejected as rejected:
        return problems.from_rejection(rejected)
    except ClientDisconnect:
        return Response(status_code=400)  # nobody is there to read it
    except Exception as error:  # noqa: BLE001 - the last resort: told in words, logged with its trace
        return problems.from_failure(error, f"{route.method} {route.path}")


async def _call(parts: Parts, route: Route, request: Request) -> Call[Any]:
    bearer = _bearer(request)
    caller = await parts.callers.admit(route.roles, bearer)
    asked = routes.parse_query(route, request.query_params)
    return Call(
        caller=caller,
        body=None if route.body is None else _decoded(route, await bodies.read(request, route)),
        id=request.path_params.get("id", 0),
        endpoint=request.path_params.get("endpoint", 0),
        query=asked.numbers,
        words=asked.words,
        bearer=bearer,
        hung_up=request.is_disconnected,
    )


def _decoded(route: Route, content: bytes) -> Any:  # noqa: ANN401 - as the route's type says
    return route.decode(content) if route.decode else bodies.decode(content, route.body)


def _bearer(request: Request) -> str | None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def _success(route: Route, value: object) -> Response:
    if route.answer is None:
        return Response(status_code=route.status, headers=_HEADERS)
    if isinstance(value, AsyncIterator):
        return StreamingResponse(value, status_code=route.status, headers=_HEADERS, media_type=route.media)
    content = value if isinstance(value, str | bytes) else _ENCODER.encode(value)
    return Response(content, status_code=route.status, headers=_HEADERS, media_type=route.media)


async def _unrouted(_request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return problems.from_routing(error)
