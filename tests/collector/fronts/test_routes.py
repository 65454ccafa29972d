"""Every route, asked by every kind of caller: a route without a case fails."""

from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from starlette.routing import Route as Served

from collector.app import nodes
from collector.domain.access import SYSTEM
from collector.fronts.rest import application, table
from collector.fronts.rest.problems import MEDIA
from collector.fronts.rest.routes import Route
from tests.collector.fronts.rig import Rig

CALLERS = ("nobody", "revoked", "node", "admin")

_UUID = "11111111-1111-4111-8111-111111111111"
_HEARTBEAT = {
    "cpu_percent": 1.0,
    "memory_percent": 2.0,
    "bandwidth_in_bps": 3,
    "bandwidth_out_bps": 4,
    "latency_ms": 5.0,
    "generation": 0,
    "agent_version": "1",
}


@dataclass(frozen=True)
class Case:
    """What each caller is answered; `{node}` and the like are filled in from the world of the test."""

    nobody: int
    revoked: int
    node: int
    admin: int
    body: Any = None
    path: str = ""


def _public(status: int, body: object = None) -> Case:
    return Case(status, status, status, status, body=body)


def _for_nodes(status: int, path: str, body: object = None) -> Case:
    return Case(401, 401, status, 403, body=body, path=path)


def _for_admins(status: int, path: str, body: object = None) -> Case:
    return Case(401, 401, 403, status, body=body, path=path)


CASES = {
    "GET /healthz": _public(200),
    "GET /api/v1/ca": _public(200),
    "GET /api/v1/openapi.json": _public(200),
    # No credential and no enrolment token is in these: whoever asks is told so.
    "POST /api/v1/auth/token": _public(422, {}),
    "POST /api/v1/nodes/register": _public(401, {"agent_version": "1", "hostname": "h"}),
    "POST /api/v1/nodes/heartbeat": _for_nodes(200, "/api/v1/nodes/heartbeat", _HEARTBEAT),
    "GET /api/v1/nodes/{id}/configs": _for_nodes(200, "/api/v1/nodes/{node}/configs"),
    "POST /api/v1/nodes/{id}/configs/sync": _for_nodes(
        204, "/api/v1/nodes/{node}/configs/sync", {"generation": 0, "items": []}
    ),
    "POST /api/v1/usage": _for_nodes(200, "/api/v1/usage", {"ledger": "l", "rows": []}),
    "POST /api/v1/nodes": _for_admins(201, "/api/v1/nodes", {"name": "new"}),
    "GET /api/v1/nodes": _for_admins(200, "/api/v1/nodes"),
    "GET /api/v1/nodes/{id}": _for_admins(200, "/api/v1/nodes/{node}"),
    "PATCH /api/v1/nodes/{id}": _for_admins(200, "/api/v1/nodes/{node}", {"region": "fra"}),
    "POST /api/v1/nodes/{id}/enrolments": _for_admins(201, "/api/v1/nodes/{node}/enrolments"),
    "POST /api/v1/nodes/{id}/revoke": _for_admins(200, "/api/v1/nodes/{node}/revoke"),
    "POST /api/v1/nodes/{id}/endpoints": _for_admins(
        201, "/api/v1/nodes/{node}/endpoints", {"name": "e", "protocol": "vless", "port": 8443}
    ),
    "GET /api/v1/nodes/{id}/endpoints": _for_admins(200, "/api/v1/nodes/{node}/endpoints"),
    "DELETE /api/v1/endpoints/{id}": _for_admins(204, "/api/v1/endpoints/{endpoint}"),
    "POST /api/v1/users": _for_admins(201, "/api/v1/users", {"name": "u", "uuid": _UUID}),
    "GET /api/v1/users": _for_admins(200, "/api/v1/users"),
    "GET /api/v1/users/{id}": _for_admins(200, "/api/v1/users/{user}"),
    "PATCH /api/v1/users/{id}": _for_admins(200, "/api/v1/users/{user}", {"active": False}),
    "DELETE /api/v1/users/{id}": _for_admins(204, "/api/v1/users/{user}"),
    "GET /api/v1/users/{id}/usage": _for_admins(200, "/api/v1/users/{user}/usage"),
    "POST /api/v1/users/{id}/configs": _for_admins(200, "/api/v1/users/{user}/configs", {"endpoints": []}),
    "GET /api/v1/quarantine": _for_admins(200, "/api/v1/quarantine"),
    "POST /api/v1/quarantine/{id}/accept": _for_admins(409, "/api/v1/quarantine/{held}/accept"),
    "POST /api/v1/quarantine/{id}/dismiss": _for_admins(204, "/api/v1/quarantine/{held}/dismiss"),
    "GET /api/v1/incidents": _for_admins(200, "/api/v1/incidents"),
    "GET /api/v1/events": _for_admins(200, "/api/v1/events"),
}


def _name(route: Route) -> str:
    return f"{route.method} {route.path}"


def _world(rig: Rig) -> tuple[dict[str, int], dict[str, str | None]]:
    own, gone, admin = rig.joined("own"), rig.joined("gone"), rig.admin()
    rig.data.write_now(nodes.revoke, gone.id, SYSTEM, rig.now_ms)
    endpoint = rig.endpoint(own.id)
    ids = {"node": own.id, "endpoint": endpoint, "user": rig.user("someone", endpoint), "held": 1}
    report = {"ledger": "held", "rows": [[1, endpoint, -1, 0]]}
    assert rig.send("POST", "/api/v1/usage", report, token=own.token).status_code == 200
    return ids, {"nobody": None, "revoked": gone.token, "node": own.token, "admin": admin}


@pytest.mark.parametrize("route", table.ROUTES, ids=_name)
def test_every_route_answers_every_kind_of_caller_as_it_says(rig: Rig, route: Route) -> None:
    case = CASES[_name(route)]
    ids, tokens = _world(rig)
    path = (case.path or route.path).format(**ids)
    answers = {caller: rig.send(route.method, path, case.body, token=tokens[caller]) for caller in CALLERS}
    assert {caller: answer.status_code for caller, answer in answers.items()} == {
        caller: getattr(case, caller) for caller in CALLERS
    }
    for answer in answers.values():
        assert answer.headers["cache-control"] == "no-store"
        if answer.is_error:
            assert answer.headers["content-type"] == MEDIA
            assert len(answer.json()["detail"]) > 20


@pytest.mark.parametrize("route", [one for one in table.ROUTES if one.answer is not None], ids=_name)
def test_every_answer_is_of_the_type_that_the_table_declares(rig: Rig, route: Route) -> None:
    case = CASES[_name(route)]
    ids, tokens = _world(rig)
    for caller in CALLERS:
        path = (case.path or route.path).format(**ids)
        answer = rig.send(route.method, path, case.body, token=tokens[caller])
        if answer.is_success and route.media == "application/json":
            msgspec.json.decode(answer.content, type=route.answer)


def test_every_case_has_a_route_and_no_route_is_there_twice() -> None:
    names = [_name(route) for route in table.ROUTES]
    assert sorted(names) == sorted(CASES)


def test_nothing_is_served_that_is_not_in_the_table(rig: Rig) -> None:
    made = application.application(rig.parts, table.ROUTES)
    served = {
        (method, path.path.replace("{id:number}", "{id}"))
        for path in made.routes
        if isinstance(path, Served)
        for method in path.methods or set()
    }
    heads = {("HEAD", route.path) for route in table.ROUTES if route.method == "GET"}
    assert served == {(route.method, route.path) for route in table.ROUTES} | heads
    assert len(made.routes) == len({route.path for route in table.ROUTES})


def test_a_node_may_not_ask_for_the_configuration_of_another_node(rig: Rig) -> None:
    own, other = rig.joined("own"), rig.joined("other")
    path = f"/api/v1/nodes/{other.id}/configs"
    assert rig.send("GET", path, token=own.token).status_code == 403
    sync = {"generation": 0, "items": []}
    assert rig.send("POST", f"{path}/sync", sync, token=own.token).status_code == 403
    assert rig.send("GET", path, token=other.token).status_code == 200


def test_a_node_may_not_report_under_the_ledger_of_another_node(rig: Rig) -> None:
    own, other = rig.joined("own"), rig.joined("other")
    report = {"ledger": "mine", "rows": []}
    assert rig.send("POST", "/api/v1/usage", report, token=own.token).status_code == 200
    assert rig.send("POST", "/api/v1/usage", report, token=other.token).status_code == 403
