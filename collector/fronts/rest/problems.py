"""Everything that is not an answer, as application/problem+json (RFC 9457).

What always holds: the text says what to do and holds nothing that the caller may not see; an error of ours
shows a reference that is in the log, never a trace.
"""

import logging
import secrets
from collections.abc import Mapping
from http import HTTPStatus

import msgspec
from starlette.exceptions import HTTPException
from starlette.responses import Response

from collector.domain.refusals import Kind, Refused

LOGGER = logging.getLogger(__name__)
MEDIA = "application/problem+json"

_STATUS = {
    Kind.INVALID: 422,
    Kind.UNAUTHENTICATED: 401,
    Kind.FORBIDDEN: 403,
    Kind.NOT_FOUND: 404,
    Kind.CONFLICT: 409,
    Kind.UNAVAILABLE: 503,
}
_TITLES = {
    400: "Malformed request",
    401: "Not authenticated",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    408: "Request too slow",
    409: "Conflict",
    413: "Request too large",
    415: "Unsupported media type",
    422: "Invalid request",
    429: "Too many attempts",
    500: "Internal error",
    503: "Unavailable",
}
_HEADERS: Mapping[int, Mapping[str, str]] = {401: {"www-authenticate": "Bearer"}, 503: {"retry-after": "5"}}


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What went wrong. `fields` says it for each wrong field, `reference` finds our own errors in the log."""

    type: str
    title: str
    status: int
    detail: str
    fields: dict[str, str] = {}
    reference: str | None = None


class Rejected(Exception):  # noqa: N818 - an answer of this front, not an error of ours
    """A request that this front cannot even pass on."""

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        *,
        fields: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.fields = dict(fields or {})
        self.headers = dict(headers or {})


def malformed(detail: str, fields: Mapping[str, str] | None = None) -> Rejected:
    """A request whose form is wrong."""
    return Rejected(HTTPStatus.BAD_REQUEST, detail, fields=fields)


def from_refusal(refused: Refused) -> Response:
    """The answer for a refusal of the app."""
    return _response(HTTPStatus(_STATUS[refused.kind]), refused.detail, fields=refused.fields)


def from_rejection(rejected: Rejected) -> Response:
    """The answer for a request that this front rejects."""
    return _response(rejected.status, rejected.detail, fields=rejected.fields, headers=rejected.headers)


def from_routing(error: HTTPException) -> Response:
    """The answer for a path or method that is not served."""
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(sorted(headers.get("Allow", "").split(", ")))
        detail = f"use one of these methods here: {headers['Allow']}"
    else:
        detail = "there is nothing at this path; the API is described at /api/v1/openapi.json"
    return _response(HTTPStatus(error.status_code), detail, headers=headers)


def from_failure(error: Exception, route: str) -> Response:
    """The answer for an error of ours, which goes to the log with the reference."""
    reference = secrets.token_hex(6)
    fields = {"route": route, "reference": reference}
    LOGGER.error("request_failed", exc_info=error, extra={"fields": fields})
    detail = f"the collector failed on this request; its log says why under reference {reference}"
    return _response(HTTPStatus.INTERNAL_SERVER_ERROR, detail, reference=reference)


def _response(
    status: HTTPStatus,
    detail: str,
    *,
    fields: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    reference: str | None = None,
) -> Response:
    title = _TITLES[status]
    problem = Problem(
        type=f"urn:tidegate:problem:{title.lower().replace(' ', '-')}",
        title=title,
        status=status,
        detail=detail,
        fields=dict(fields or {}),
        reference=reference,
    )
    all_headers = {"cache-control": "no-store", **_HEADERS.get(status, {}), **(headers or {})}
    return Response(msgspec.json.encode(problem), status_code=status, headers=all_headers, media_type=MEDIA)
