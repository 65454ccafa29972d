"""Problems: the right status, a sentence, the field, and nothing that the caller may not see."""

import asyncio
import io
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from starlette.types import Message

from collector import main
from collector.domain.refusals import Kind, Refused
from collector.fronts.rest import application, bodies, problems, routes, table
from collector.fronts.rest.parts import Parts
from collector.fronts.rest.routes import Call, Route
from shared import logs
from tests.collector.fronts.rig import URL, Rig

JSON = {"content-type": "application/json"}


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_of_refusal_has_a_status_and_a_title(kind: Kind) -> None:
    answer = problems.from_refusal(Refused(kind, "do something else", {"port": "wrong"}))
    body = json.loads(bytes(answer.body))
    assert body["status"] == answer.status_code
    assert body["detail"] == "do something else"
    assert body["fields"] == {"port": "wrong"}
    assert body["type"].startswith("urn:tidegate:problem:")


def test_a_wrong_type_names_the_field(rig: Rig) -> None:
    body = {"name": "main", "protocol": "vless", "port": "443"}
    answer = rig.send("POST", f"/api/v1/nodes/{rig.node()}/endpoints", body, token=rig.admin())
    assert answer.status_code == 422
    assert answer.json()["fields"] == {"port": "Expected `int`, got `str`"}


def test_an_unknown_field_is_refused_since_it_is_a_typing_error(rig: Rig) -> None:
    answer = rig.send("POST", "/api/v1/users", {"name": "ada", "qouta_bytes": 5}, token=rig.admin())
    assert answer.status_code == 422
    assert "qouta_bytes" in answer.json()["detail"]


def test_a_field_that_the_rules_refuse_is_named(rig: Rig) -> None:
    answer = rig.send("POST", "/api/v1/nodes", {"name": "a\nb"}, token=rig.admin())
    assert answer.status_code == 422
    assert set(answer.json()["fields"]) == {"name"}


def test_numbers_that_no_column_holds_are_refused_by_field(rig: Rig) -> None:
    token = rig.admin()
    user = rig.user("ada")
    answer = rig.send("POST", f"/api/v1/users/{user}/configs", {"endpoints": [1, 2**63]}, token=token)
    assert answer.status_code == 422
    assert set(answer.json()["fields"]) == {"endpoints[1]"}


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'{"name": "\xed\xa0\x80"}', b"[" * 30_000])
def test_what_is_not_json_is_refused(rig: Rig, content: bytes) -> None:
    answer = rig.send("POST", "/api/v1/nodes", content=content, headers=JSON, token=rig.admin())
    assert answer.status_code in {400, 422}
    assert answer.headers["content-type"] == problems.MEDIA


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_another_content_type_is_refused(rig: Rig, kind: str) -> None:
    headers = {"content-type": kind}
    answer = rig.send("POST", "/api/v1/nodes", content=b"{}", headers=headers, token=rig.admin())
    assert answer.status_code == 415
    assert "application/json" in answer.json()["detail"]


@pytest.mark.parametrize(
    "route", [one for one in table.ROUTES if one.body is not None], ids=lambda one: one.path
)
def test_a_body_beyond_the_limit_of_its_route_is_refused(rig: Rig, route: Route) -> None:
    role = "node" if route.roles == routes.NODES else "admin"
    token = rig.joined().token if role == "node" else rig.admin()
    content = b'"' + b"x" * route.max_bytes
    path = route.path.replace("{id}", "1").replace("{endpoint}", "1")
    answer = rig.send(route.method, path, content=content, headers=JSON, token=token)
    assert answer.status_code == 413
    assert str(route.max_bytes) in answer.json()["detail"]
    assert answer.headers["connection"] == "close"


def test_a_body_without_end_is_not_read_beyond_the_limit(rig: Rig) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 1
            yield b"x" * 1024

    async def scenario() -> httpx.Response:
        headers = {**JSON, "authorization": f"Bearer {token}"}
        return await rig.http.post("/api/v1/nodes", content=endless(), headers=headers)

    token = rig.admin()
    assert rig.run(scenario()).status_code == 413
    assert read <= routes.SMALL_BYTES // 1024 + 2


def test_a_body_that_never_comes_is_given_up(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "READ_S", 0.05)
    token = rig.admin()
    sent: list[Message] = []

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/api/v1/nodes",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json"), (b"authorization", f"Bearer {token}".encode())],
    }
    rig.run(_call(application.application(rig.parts, table.ROUTES), scope, receive, send))
    assert sent[0]["status"] == 408


async def _call(app: object, *arguments: object) -> None:
    assert callable(app)
    await app(*arguments)


@pytest.mark.parametrize(
    "path", ["/", "/api", "/api/v2/nodes", "/api/v1/nodes/", "/api/v1/nodes/x", "/api/v1/nodes/" + "9" * 5000]
)
def test_an_unknown_path_is_told_where_the_description_is(rig: Rig, path: str) -> None:
    answer = rig.send("GET", path, token=rig.admin())
    assert answer.status_code == 404
    assert "/api/v1/openapi.json" in answer.json()["detail"]


def test_a_wrong_method_is_told_the_right_ones(rig: Rig) -> None:
    answer = rig.send("PUT", "/api/v1/nodes/1", token=rig.admin())
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD, PATCH"
    assert "GET, HEAD, PATCH" in answer.json()["detail"]


def test_a_head_request_is_answered_as_a_get_is(rig: Rig) -> None:
    assert rig.send("HEAD", "/healthz").status_code == 200


@pytest.mark.parametrize(
    ("query", "field"), [("since=-1", "since"), ("wait=56", "wait"), ("wait=1e1", "wait"), ("wiat=5", "wiat")]
)
def test_a_wrong_query_is_refused_by_name(rig: Rig, query: str, field: str) -> None:
    node = rig.joined()
    answer = rig.send("GET", f"/api/v1/nodes/{node.id}/configs?{query}", token=node.token)
    assert answer.status_code == 400
    assert set(answer.json()["fields"]) == {field}


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Basic YTpi", "bearer x", "Bearer a b", "Bearer ..", "Bearer é"]
)
def test_what_is_no_access_token_is_refused_with_how_to_get_one(rig: Rig, header: str) -> None:
    async def scenario() -> httpx.Response:
        return await rig.http.get("/api/v1/nodes", headers=[(b"authorization", header.encode())])

    answer = rig.run(scenario())
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "/api/v1/auth/token" in answer.json()["detail"]


def test_a_failure_of_ours_shows_a_reference_that_is_in_the_log_and_nothing_else(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(_parts: Parts, _call: Call[None]) -> None:
        raise ZeroDivisionError("the secret of the house")

    route = Route(method="GET", path="/fails", handler=fail, roles=routes.ANYBODY, summary="Fails.")
    transport = httpx.ASGITransport(app=application.application(rig.parts, (route,)))

    async def scenario() -> httpx.Response:
        async with httpx.AsyncClient(transport=transport, base_url=URL) as client:
            return await client.get("/fails")

    answer = rig.run(scenario())
    assert answer.status_code == 500
    assert answer.headers["content-type"] == problems.MEDIA
    assert "secret" not in answer.text
    assert "ZeroDivisionError" not in answer.text
    line = json.loads(logs.Lines().format(caplog.records[-1]))
    assert line["reference"] == answer.json()["reference"]
    assert line["route"] == "GET /fails"
    assert "ZeroDivisionError" in line["trace"]


def test_a_database_that_cannot_be_used_is_told_as_unavailable(rig: Rig, tmp_path: Path) -> None:
    rig.data.write_now(lambda session: session.run("ALTER TABLE node RENAME TO gone"))
    answer = rig.send("POST", "/api/v1/nodes", {"name": "n"}, token=rig.admin())
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert str(tmp_path) not in answer.text


def test_no_secret_reaches_the_log_or_a_file(rig: Rig, tmp_path: Path) -> None:
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(logs.Lines())
    root = logging.getLogger()
    root.addHandler(handler)
    main.hush()
    before = root.level
    root.setLevel(logging.DEBUG)
    try:
        secrets = _use_every_secret(rig)
    finally:
        root.removeHandler(handler)
        root.setLevel(before)
    rig.data.close()
    files = {path.name: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert files
    for secret in secrets:
        assert secret not in written.getvalue()
        assert [name for name, content in files.items() if secret.encode() in content] == []


def _use_every_secret(rig: Rig) -> list[str]:
    admin = rig.admin("open sesame", "ada")
    node = rig.node()
    token = rig.send("POST", f"/api/v1/nodes/{node}/enrolments", token=admin).json()["token"]
    about = {"agent_version": "1", "hostname": "h"}
    given = rig.send("POST", "/api/v1/nodes/register", about, token=token).json()
    rig.send("POST", "/api/v1/nodes/register", about, token=token)
    right = {"client_id": given["client_id"], "client_secret": given["client_secret"]}
    access = rig.send("POST", "/api/v1/auth/token", right).json()["access_token"]
    rig.send("POST", "/api/v1/auth/token", {**right, "client_secret": "a wrong secret"})
    rig.send("POST", "/api/v1/auth/token", {"username": "a typed password", "password": "a wrong password"})
    rig.send("POST", "/api/v1/auth/token", {"username": "ada", "password": "open sesame"})
    rig.send("POST", "/api/v1/nodes/register", {"hostname": 5}, token="a wrong token")
    typed = ["a wrong secret", "a typed password", "a wrong password", "a wrong token"]
    return [admin, token, given["client_secret"], access, "open sesame", *typed]
