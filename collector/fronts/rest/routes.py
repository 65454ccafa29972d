"""What a route is: a row of the table that says everything about it, who may call it included.

What always holds: nothing is served that is not in the table, and the OpenAPI document is made of the same
rows.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from collector import tokens
from collector.domain.access import Actor, Role
from collector.fronts.rest import problems
from collector.fronts.rest.parts import Parts
from shared.names import NodeId

B = TypeVar("B")

ANYBODY = frozenset(Role) - {Role.SYSTEM}
NODES = frozenset({Role.NODE})
ADMINS = frozenset({Role.ADMIN})
#: Whoever has users: what a manager may do with them is bounded by what is below him.
RESELLERS = frozenset({Role.ADMIN, Role.MANAGER})

JSON = "application/json"
STREAM = "text/event-stream"
PLAIN = "text/plain"
SVG = "image/svg+xml"
PNG = "image/png"
SMALL_BYTES = 64 * 1024
#: Room for certificates, keys and raw JSON.
LARGE_BYTES = 256 * 1024

#: The numbers that a path may have in it, by name.
IN_PATH = ("id", "endpoint")

_NUMBER = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True, kw_only=True)
class Call(Generic[B]):
    """One request, checked and decoded.

    `id` and `endpoint` are the numbers in the path, 0 where there is none. `query` has the numbers of the
    query string and `words` its words. `bearer` is what came as `Authorization: Bearer`, for routes that read
    it themselves. `hung_up` tells whether the client has gone.
    """

    caller: tokens.Bearer
    body: B
    id: int
    endpoint: int
    query: Mapping[str, int]
    words: Mapping[str, str]
    bearer: str | None
    hung_up: Callable[[], Awaitable[bool]]

    @property
    def actor(self) -> Actor:
        """Who calls."""
        return self.caller.actor

    @property
    def node(self) -> NodeId:
        """The node that calls, on routes of nodes."""
        return NodeId(self.caller.actor.id)


@dataclass(frozen=True, kw_only=True)
class Query:
    """A whole number in the query string."""

    name: str
    default: int
    low: int
    high: int
    summary: str

    def parse(self, text: str) -> int:
        """The number. Raises ValueError with what to do."""
        number = int(text) if _NUMBER.fullmatch(text) else -1
        if not self.low <= number <= self.high:
            raise ValueError(f"use a whole number from {self.low} to {self.high}")
        return number

    def schema(self) -> dict[str, Any]:
        """What it may be, as JSON Schema."""
        return {"type": "integer", "minimum": self.low, "maximum": self.high, "default": self.default}


@dataclass(frozen=True, kw_only=True)
class Word:
    """A word in the query string: one of these, or where there are none, one in which nothing is `wrong`."""

    name: str
    default: str
    summary: str
    among: tuple[str, ...] = ()
    wrong: Callable[[str], str | None] | None = None

    def parse(self, text: str) -> str:
        """The word. Raises ValueError with what to do."""
        if self.among and text not in self.among:
            raise ValueError(f"use one of these: {', '.join(self.among)}")
        if self.wrong is not None and (problem := self.wrong(text)):
            raise ValueError(problem)
        return text

    def schema(self) -> dict[str, Any]:
        """What it may be, as JSON Schema."""
        among: dict[str, Any] = {"enum": list(self.among)} if self.among else {}
        return {"type": "string", **among, **({"default": self.default} if self.default else {})}


@dataclass(frozen=True)
class Asked:
    """What the query string asks for, what it leaves out by its default."""

    numbers: Mapping[str, int]
    words: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Route:
    """One method of one path. `answer` is the type of what the handler returns; None is an empty answer.

    `decode` replaces the usual decoding of a body of type `body`.
    """

    method: str
    path: str
    handler: "Handler"
    roles: frozenset[Role]
    summary: str
    answer: Any = None
    status: int = 200
    media: str = JSON
    body: Any = None
    max_bytes: int = SMALL_BYTES
    decode: Callable[[bytes], Any] | None = None
    query: tuple[Query | Word, ...] = ()

    @property
    def public(self) -> bool:
        """Whether callers need no token."""
        return Role.NOBODY in self.roles


Handler = Callable[[Parts, Call[Any]], Awaitable[Any]]


AFTER = Query(
    name="after", default=0, low=0, high=10**18 - 1, summary="Number of the last item already seen."
)
LIMIT = Query(name="limit", default=100, low=1, high=1000, summary="How many items at most.")
PAGING = (AFTER, LIMIT)


def after(call: Call[Any], numbers: Sequence[int]) -> int | None:
    """The `after` of the next page, given the numbers on this one; None when this is the last."""
    return numbers[-1] if len(numbers) == call.query[LIMIT.name] else None


def parse_query(route: Route, given: Mapping[str, str]) -> Asked:
    """The query of a request. Raises Rejected naming every wrong parameter."""
    known = {query.name: query for query in route.query}
    wrong = {name: "there is no such parameter here: remove it" for name in given if name not in known}
    values: dict[str, int | str] = {name: query.default for name, query in known.items()}
    for name in known.keys() & given.keys():
        try:
            values[name] = known[name].parse(given[name])
        except ValueError as problem:
            wrong[name] = str(problem)
    if wrong:
        raise problems.malformed("correct the query parameters named in this answer", wrong)
    return Asked(
        {name: value for name, value in values.items() if isinstance(value, int)},
        {name: value for name, value in values.items() if isinstance(value, str)},
    )
