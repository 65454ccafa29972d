"""Bodies of requests: read within a limit, decoded, and refused in words that name the field.

What always holds: no more than the route's limit is kept in memory, and no number reaches the database that
its columns cannot hold.
"""

import asyncio
import re
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.requests import Request

from collector.fronts.rest import problems
from collector.fronts.rest.routes import JSON, Route
from shared.names import MAX_BYTES

#: A body that takes longer than this comes from somebody who means to hold the connection.
READ_S = 30.0

#: msgspec ends its sentences so: "Expected `int`, got `str` - at `$.rows[3].port`".
_PLACE = re.compile(r"(?P<what>.*?) - at `\$\.?(?P<field>.*)`", re.DOTALL)
_LONG_NUMBER = re.compile(rb"\d{19}")


async def read(request: Request, route: Route) -> bytes:
    """The body. Raises Rejected when it is not JSON, too large or too slow."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != JSON:
        raise problems.Rejected(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"send the body as JSON, with the header Content-Type: {JSON}"
        )
    content = bytearray()
    try:
        async with asyncio.timeout(READ_S):
            async for chunk in request.stream():
                content += chunk
                if len(content) > route.max_bytes:
                    raise _too_large(route.max_bytes)
    except TimeoutError:
        detail = f"send the whole body within {READ_S:.0f} s"
        raise problems.Rejected(HTTPStatus.REQUEST_TIMEOUT, detail, headers=_HANG_UP) from None
    return bytes(content)


def decode(content: bytes, wanted: Any) -> Any:  # noqa: ANN401 - as the route's type says
    """The body as this type. Raises Rejected naming the field that is wrong."""
    try:
        body = msgspec.json.decode(content, type=wanted)
    except msgspec.ValidationError as wrong:
        raise _invalid(wrong) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise not_json() from None
    if _LONG_NUMBER.search(content):
        _refuse_long_numbers(body)
    return body


def not_json() -> problems.Rejected:
    """The body is not JSON at all."""
    return problems.malformed("send a body that is valid JSON in UTF-8")


_HANG_UP = {"connection": "close"}


def _too_large(limit: int) -> problems.Rejected:
    detail = f"send at most {limit} bytes here"
    return problems.Rejected(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail, headers=_HANG_UP)


def _invalid(wrong: msgspec.ValidationError) -> problems.Rejected:
    sentence = str(wrong)
    found = _PLACE.fullmatch(sentence)
    what, field = (found["what"], found["field"]) if found else (sentence, "")
    detail = f"correct the body as the API's description says: {sentence}"
    fields = {field: what} if field else {}
    return problems.Rejected(HTTPStatus.UNPROCESSABLE_ENTITY, detail, fields=fields)


def _refuse_long_numbers(body: object) -> None:
    found = _long_numbers("", msgspec.to_builtins(body))
    wrong = dict.fromkeys(found, f"use a number up to {MAX_BYTES}")
    if wrong:
        detail = "correct the fields named in this answer and send the request again"
        raise problems.Rejected(HTTPStatus.UNPROCESSABLE_ENTITY, detail, fields=wrong)


def _long_numbers(path: str, value: object) -> list[str]:
    if isinstance(value, dict):
        inside = [(f"{path}.{name}".lstrip("."), one) for name, one in value.items()]
    elif isinstance(value, list):
        inside = [(f"{path}[{place}]", one) for place, one in enumerate(value)]
    else:
        return [path] if isinstance(value, int) and abs(value) > MAX_BYTES else []
    return [found for place, one in inside for found in _long_numbers(place, one)]
