"""The OpenAPI 3.1 document, made from the table of routes and the types of their messages."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import msgspec

from collector.domain.access import Role
from collector.fronts.rest import problems, routes
from collector.fronts.rest.routes import Route

Node = dict[str, Any]

_SCHEME = "accessToken"
_PROBLEM = problems.Problem


def document(table: Sequence[Route], version: str) -> bytes:
    """The document as JSON."""
    schemas, components = _schemas(table)
    paths: dict[str, Node] = {}
    for route in table:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    described = {
        "openapi": "3.1.0",
        "info": {"title": "Tidegate collector", "version": version},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {_SCHEME: {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }
    return msgspec.json.encode(described)


def _schemas(table: Sequence[Route]) -> tuple[Mapping[Any, Node], Node]:
    types = [one for route in table for one in (route.body, route.answer) if one is not None]
    unique = list(dict.fromkeys([*types, _PROBLEM]))
    made, components = msgspec.json.schema_components(
        unique, schema_hook=_anything, ref_template="#/components/schemas/{name}"
    )
    for schema in (*made, components):
        _choose_one(schema)
    return dict(zip(unique, made, strict=True)), components


def _choose_one(schema: object) -> None:
    """Say of unions that are told apart by a field that exactly one of them is meant."""
    if isinstance(schema, dict):
        if "discriminator" in schema and "anyOf" in schema:
            schema["oneOf"] = schema.pop("anyOf")
        for inside in schema.values():
            _choose_one(inside)
    elif isinstance(schema, list):
        for inside in schema:
            _choose_one(inside)


def _anything(kind: type) -> Node:
    if kind is object:
        return {"description": "Any JSON value."}
    raise NotImplementedError  # msgspec's way for a hook to say that it does not know the type


def _operation(route: Route, schemas: Mapping[Any, Node]) -> Node:
    operation: Node = {
        "operationId": operation_id(route),
        "summary": route.summary,
        "tags": [_tag(route)],
        "x-roles": sorted(role.value for role in route.roles),
        "security": [] if route.public else [{_SCHEME: []}],
        "responses": _responses(route, schemas),
    }
    if parameters := _parameters(route):
        operation["parameters"] = parameters
    if route.body is not None:
        content = {routes.JSON: {"schema": schemas[route.body]}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def operation_id(route: Route) -> str:
    """A name that no other route has."""
    path = route.path.replace("/api/v1/", "/").replace(".json", "").replace("{id}", "one")
    words = path.translate(str.maketrans(".", "_", "{}")).split("/")
    return "_".join([route.method.lower(), *filter(None, words)])


def _tag(route: Route) -> str:
    return route.path.removeprefix("/api/v1").split("/")[1].removesuffix(".json")


def _responses(route: Route, schemas: Mapping[Any, Node]) -> Node:
    good: Node = {"description": HTTPStatus(route.status).phrase}
    if route.answer is not None:
        good["content"] = {route.media: {"schema": schemas[route.answer]}}
    bad = {
        "description": "A problem, in words that say what to do.",
        "content": {problems.MEDIA: {"schema": schemas[_PROBLEM]}},
    }
    return {str(route.status): good, "4XX": bad, "5XX": bad}


def _parameters(route: Route) -> list[Node]:
    number: Node = {"in": "path", "required": True, "schema": {"type": "integer", "minimum": 1}}
    in_path = [{"name": name, **number} for name in routes.IN_PATH if f"{{{name}}}" in route.path]
    in_query = [
        {
            "name": query.name,
            "in": "query",
            "description": query.summary,
            "schema": query.schema(),
        }
        for query in route.query
    ]
    in_header = (
        [_enrolment_token()] if route.path.endswith("/register") and Role.NOBODY in route.roles else []
    )
    return [*in_path, *in_query, *in_header]


def _enrolment_token() -> Node:
    description = "Bearer and the one-time enrolment token."
    schema = {"type": "string"}
    return {
        "name": "Authorization",
        "in": "header",
        "required": True,
        "description": description,
        "schema": schema,
    }
