"""Every route, asked by every kind of caller: a route without a case fails."""

from dataclasses import dataclass
from typing import Any

import httpx
import msgspec
import pytest
from starlette.routing import Route as Served

from collector.app import nodes
from collector.domain.access import SYSTEM
from collector.fronts.rest import application, table
from collector.fronts.rest.problems import MEDIA
from collector.fronts.rest.routes import Route
from tests.collector.fronts.rig import Rig

#: The stranger is a manager beside the one to whom everything belongs; he comes before it is changed.
CALLERS = ("nobody", "revoked", "node", "stranger", "manager", "admin")

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
    manager: int
    stranger: int
    body: Any = None
    path: str = ""


def _public(status: int, body: object = None) -> Case:
    return Case(status, status, status, status, status, status, body=body)


def _for_nodes(status: int, path: str, body: object = None) -> Case:
    return Case(401, 401, status, 403, 403, 403, body=body, path=path)


def _for_admins(status: int, path: str, body: object = None) -> Case:
    return Case(401, 401, 403, status, 403, 403, body=body, path=path)


def _for_resellers(status: int, path: str, body: object = None, stranger: int = 404) -> Case:
    """Everything belongs to the manager; `stranger` is what another one is answered."""
    return Case(401, 401, 403, status, status, stranger, body=body, path=path)


_TUNNEL = "/api/v1/users/{user}/wireguard/{tunnel}"

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
    "POST /api/v1/nodes/sessions": _for_nodes(200, "/api/v1/nodes/sessions", {"salt": 0}),
    "GET /api/v1/sessions": _for_admins(200, "/api/v1/sessions"),
    "GET /api/v1/users/{id}/sessions": _for_resellers(200, "/api/v1/users/{user}/sessions"),
    "DELETE /api/v1/users/{id}/penalty": _for_resellers(204, "/api/v1/users/{user}/penalty"),
    "POST /api/v1/nodes": _for_admins(201, "/api/v1/nodes", {"name": "new-{caller}"}),
    "GET /api/v1/nodes": _for_admins(200, "/api/v1/nodes"),
    "GET /api/v1/nodes/{id}": _for_admins(200, "/api/v1/nodes/{node}"),
    "PATCH /api/v1/nodes/{id}": _for_admins(200, "/api/v1/nodes/{node}", {"region": "fra"}),
    "POST /api/v1/nodes/{id}/enrolments": _for_admins(201, "/api/v1/nodes/{node}/enrolments"),
    "POST /api/v1/nodes/{id}/revoke": _for_admins(200, "/api/v1/nodes/{node}/revoke"),
    "POST /api/v1/nodes/{id}/endpoints": _for_admins(
        201, "/api/v1/nodes/{node}/endpoints", {"name": "e", "protocol": "vless", "port": 8443}
    ),
    "GET /api/v1/nodes/{id}/endpoints": _for_admins(200, "/api/v1/nodes/{node}/endpoints"),
    "GET /api/v1/endpoints/{id}": _for_admins(200, "/api/v1/endpoints/{endpoint}"),
    "PATCH /api/v1/endpoints/{id}": _for_admins(200, "/api/v1/endpoints/{endpoint}", {"port": 8444}),
    "DELETE /api/v1/endpoints/{id}": _for_admins(204, "/api/v1/endpoints/{endpoint}"),
    "GET /api/v1/endpoints": _for_resellers(200, "/api/v1/endpoints", stranger=200),
    "POST /api/v1/managers": _for_resellers(201, "/api/v1/managers", {"name": "new-{caller}"}, 201),
    "GET /api/v1/managers": _for_resellers(200, "/api/v1/managers", stranger=200),
    "GET /api/v1/managers/tree": _for_resellers(200, "/api/v1/managers/tree?manager={sub}"),
    "GET /api/v1/managers/{id}": _for_resellers(200, "/api/v1/managers/{sub}"),
    "PATCH /api/v1/managers/{id}": _for_resellers(200, "/api/v1/managers/{sub}", {"notices": 1}),
    "DELETE /api/v1/managers/{id}": _for_resellers(204, "/api/v1/managers/{sub}"),
    "POST /api/v1/managers/{id}/login": _for_resellers(201, "/api/v1/managers/{sub}/login"),
    "DELETE /api/v1/managers/{id}/login": _for_resellers(204, "/api/v1/managers/{sub}/login"),
    "POST /api/v1/users": _for_resellers(201, "/api/v1/users", {"name": "new-{caller}"}, 201),
    "GET /api/v1/users": _for_resellers(200, "/api/v1/users?manager={owner}"),
    "GET /api/v1/users/{id}": _for_resellers(200, "/api/v1/users/{user}"),
    "PATCH /api/v1/users/{id}": _for_resellers(200, "/api/v1/users/{user}", {"active": False}),
    "DELETE /api/v1/users/{id}": _for_resellers(204, "/api/v1/users/{user}"),
    "GET /api/v1/users/{id}/usage": _for_resellers(200, "/api/v1/users/{user}/usage"),
    "POST /api/v1/users/{id}/configs": _for_resellers(200, "/api/v1/users/{user}/configs", {"endpoints": []}),
    "GET /api/v1/users/{id}/wireguard": _for_resellers(200, "/api/v1/users/{user}/wireguard"),
    "PATCH /api/v1/users/{id}/wireguard/{endpoint}": _for_resellers(200, _TUNNEL, {"v4": "10.66.0.9"}),
    "POST /api/v1/users/{id}/wireguard/{endpoint}/rotate": _for_resellers(200, _TUNNEL + "/rotate"),
    "GET /api/v1/users/{id}/wireguard/{endpoint}/config": _for_resellers(200, _TUNNEL + "/config"),
    "GET /api/v1/users/{id}/wireguard/{endpoint}/qr.svg": _for_resellers(200, _TUNNEL + "/qr.svg"),
    "GET /api/v1/users/{id}/wireguard/{endpoint}/qr.png": _for_resellers(200, _TUNNEL + "/qr.png"),
    "GET /api/v1/users/{id}/usage/history": _for_resellers(200, "/api/v1/users/{user}/usage/history"),
    "GET /api/v1/nodes/{id}/usage/history": _for_admins(200, "/api/v1/nodes/{node}/usage/history"),
    "GET /api/v1/endpoints/{id}/usage/history": _for_admins(
        200, "/api/v1/endpoints/{endpoint}/usage/history"
    ),
    "GET /api/v1/usage/history": _for_admins(200, "/api/v1/usage/history"),
    "GET /api/v1/usage/top": _for_admins(200, "/api/v1/usage/top"),
    "GET /api/v1/quarantine": _for_admins(200, "/api/v1/quarantine"),
    "POST /api/v1/quarantine/{id}/accept": _for_admins(409, "/api/v1/quarantine/{held}/accept"),
    "POST /api/v1/quarantine/{id}/dismiss": _for_admins(204, "/api/v1/quarantine/{held}/dismiss"),
    "GET /api/v1/incidents": _for_admins(200, "/api/v1/incidents"),
    "GET /api/v1/events": _for_resellers(200, "/api/v1/events", stranger=200),
    "GET /api/v1/events/stream": _for_resellers(200, "/api/v1/events/stream", stranger=200),
    "GET /api/v1/users/{id}/events": _for_resellers(200, "/api/v1/users/{user}/events"),
    "GET /api/v1/audit": _for_resellers(200, "/api/v1/audit", stranger=200),
}


def _name(route: Route) -> str:
    return f"{route.method} {route.path}"


@dataclass(frozen=True)
class World:
    """What the paths name, and who asks; whoever may remove something has one of his own to remove."""

    rig: Rig
    ids: dict[str, int]
    own: dict[str, dict[str, int]]
    tokens: dict[str, str | None]

    def ask(self, route: Route, case: Case, caller: str) -> httpx.Response:
        """One request of this caller."""
        path = (case.path or route.path).format(**(self.ids | self.own.get(caller, {})))
        body = case.body
        if isinstance(body, dict) and "name" in body:
            body = {**body, "name": body["name"].format(caller=caller)}
        return self.rig.send(route.method, path, body, token=self.tokens[caller])


def world(rig: Rig) -> World:
    own, gone, admin = rig.joined("own"), rig.joined("gone"), rig.admin()
    rig.data.write_now(nodes.revoke, gone.id, SYSTEM, rig.now_ms)
    endpoint = rig.endpoint(own.id)
    owner, stranger = rig.manager("owner", rig.manager("above")), rig.manager("stranger")
    tunnels = [rig.tunnel(own.id), rig.tunnel(gone.id)]
    users = [
        rig.user(f"someone-{number}", endpoint, tunnel, manager=owner)
        for number, tunnel in enumerate(tunnels)
    ]
    subs = [rig.manager(f"sub-{number}", owner) for number in range(2)]
    ids = {
        "node": own.id,
        "endpoint": endpoint,
        "tunnel": tunnels[0],
        "user": users[0],
        "sub": subs[0],
        "owner": owner,
        "held": 1,
    }
    report = {"ledger": "held", "rows": [[1, endpoint, -1, 0]]}
    assert rig.send("POST", "/api/v1/usage", report, token=own.token).status_code == 200
    tokens = {"nobody": None, "revoked": gone.token, "node": own.token, "admin": admin}
    tokens |= {"manager": rig.manager_token(owner), "stranger": rig.manager_token(stranger)}
    return World(rig, ids, {"admin": {"user": users[1], "tunnel": tunnels[1], "sub": subs[1]}}, tokens)


@pytest.mark.parametrize("route", table.ROUTES, ids=_name)
def test_every_route_answers_every_kind_of_caller_as_it_says(rig: Rig, route: Route) -> None:
    case, asked = CASES[_name(route)], world(rig)
    answers = {caller: asked.ask(route, case, caller) for caller in CALLERS}
    assert {caller: answer.status_code for caller, answer in answers.items()} == {
        caller: getattr(case, caller) for caller in CALLERS
    }
    for answer in answers.values():
        assert answer.headers["cache-control"] == "no-store"
        if answer.is_error:
            assert answer.headers["content-type"] == MEDIA
            assert len(answer.json()["detail"]) > 15


@pytest.mark.parametrize("route", [one for one in table.ROUTES if one.answer is not None], ids=_name)
def test_every_answer_is_of_the_type_that_the_table_declares(rig: Rig, route: Route) -> None:
    case, asked = CASES[_name(route)], world(rig)
    for caller in CALLERS:
        answer = asked.ask(route, case, caller)
        if answer.is_success and route.media == "application/json":
            msgspec.json.decode(answer.content, type=route.answer)


def test_every_case_has_a_route_and_no_route_is_there_twice() -> None:
    names = [_name(route) for route in table.ROUTES]
    assert sorted(names) == sorted(CASES)


def test_nothing_is_served_that_is_not_in_the_table(rig: Rig) -> None:
    made = application.application(rig.parts, table.ROUTES)
    served = {
        (method, path.path.replace(":number}", "}"))
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
