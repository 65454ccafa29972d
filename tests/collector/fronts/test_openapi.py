"""The OpenAPI document: what it says is what is served."""

import json
import re
from collections.abc import Iterator
from typing import Any

from collector import main
from collector.fronts.rest import openapi, table
from tests.collector.fronts.rig import Rig

DOCUMENT = json.loads(main.document())
METHODS = {"get", "put", "post", "delete", "patch"}


def _operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in DOCUMENT["paths"].items():
        for method, operation in item.items():
            yield path, method, operation


def _references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        yield from (one for name, one in value.items() if name == "$ref" and isinstance(one, str))
        for one in value.values():
            yield from _references(one)
    elif isinstance(value, list):
        for one in value:
            yield from _references(one)


def test_the_document_describes_exactly_the_routes_of_the_table() -> None:
    described = {(method.upper(), path) for path, method, _ in _operations()}
    assert described == {(route.method, route.path) for route in table.ROUTES}


def test_the_document_is_served_as_it_is(rig: Rig) -> None:
    answer = rig.send("GET", "/api/v1/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == DOCUMENT


def test_the_document_has_the_shape_of_openapi_3_1() -> None:
    assert DOCUMENT["openapi"].startswith("3.1.")
    assert set(DOCUMENT["info"]) >= {"title", "version"}
    assert set(DOCUMENT) <= {"openapi", "info", "paths", "components"}
    for path, method, operation in _operations():
        assert path.startswith("/")
        assert method in METHODS
        assert operation["summary"].endswith(".")
        assert {"operationId", "responses", "security", "tags"} <= set(operation)
        for response in operation["responses"].values():
            assert response["description"]
        in_path = [one["name"] for one in operation.get("parameters", []) if one["in"] == "path"]
        assert in_path == re.findall(r"\{(\w+)\}", path)
        for one in operation.get("parameters", []):
            assert {"name", "in", "schema"} <= set(one)


def test_every_reference_in_the_document_leads_somewhere() -> None:
    known = {f"#/components/schemas/{name}" for name in DOCUMENT["components"]["schemas"]}
    assert set(_references(DOCUMENT)) <= known


def test_every_operation_has_a_name_of_its_own() -> None:
    names = [openapi.operation_id(route) for route in table.ROUTES]
    assert len(set(names)) == len(names)


def test_only_public_routes_are_described_without_a_token() -> None:
    for path, method, operation in _operations():
        assert (operation["security"] == []) == ("nobody" in operation["x-roles"]), f"{method} {path}"


def test_bodies_are_described_where_and_only_where_the_table_has_them() -> None:
    described = {(method.upper(), path) for path, method, one in _operations() if "requestBody" in one}
    assert described == {(route.method, route.path) for route in table.ROUTES if route.body is not None}
