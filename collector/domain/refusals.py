"""A request that cannot be granted, said in words that tell the caller what to do.

An app function raises `Refused` so that its savepoint is rolled back with it; fronts translate the kind into
their protocol's status. The text is safe to show: it holds no secret.
"""

from collections.abc import Mapping
from enum import Enum


class Kind(Enum):
    """Why a request is refused, as far as a caller must tell apart."""

    INVALID = "invalid"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not-found"
    CONFLICT = "conflict"
    UNAVAILABLE = "unavailable"


class Refused(Exception):  # noqa: N818 - a refusal is an answer, not an error of ours
    """A refusal; `fields` maps each wrong field of the request to what is wrong with it."""

    def __init__(self, kind: Kind, detail: str, fields: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.fields = dict(fields or {})


def invalid(fields: Mapping[str, str]) -> Refused:
    """Fields of the request that must be corrected."""
    return Refused(Kind.INVALID, "correct the fields named in this answer and send the request again", fields)


def not_found(what: str, number: int) -> Refused:
    """Nothing with this id."""
    return Refused(Kind.NOT_FOUND, f"there is no {what} {number}")


def conflict(detail: str, fields: Mapping[str, str] | None = None) -> Refused:
    """The request contradicts what is there."""
    return Refused(Kind.CONFLICT, detail, fields)
