"""A small synchronous client of the collector's API, as an operator's script would be.

Every call opens its own TLS connection, so a collector that was killed and came back is simply asked again.
"""

import contextlib
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from tests.kit import lab

Answer = dict[str, Any]

_TIMEOUT_S = 10.0


class ApiError(Exception):
    """The collector refused; `status` is HTTP's and `problem` what it said (problem+json)."""

    def __init__(self, status: int, problem: Answer | str) -> None:
        super().__init__(f"HTTP {status}: {problem}")
        self.status = status
        self.problem = problem


class Api:
    """Speaks for one admin from one place; logs in again when its token has expired."""

    def __init__(self, url: str, ca: Path, place: lab.Place, credentials: tuple[str, str]) -> None:
        self._url = url
        self._place = place
        self._credentials = credentials
        self._trust = ssl.create_default_context(cafile=ca)
        self._token: str | None = None

    def call(self, method: str, path: str, body: Answer | None = None, *, token: str | None = None) -> Any:  # noqa: ANN401 - what JSON may be
        """One request; raises ApiError when it is refused, httpx.TransportError when it is not heard."""
        return _read(self._answer(method, path, body, token))

    def text(self, path: str) -> str:
        """A document that is not JSON; raises as `call` does."""
        answer = self._answer("GET", path, None, None)
        _read(answer)
        return answer.text

    def answers(self) -> bool:
        """Whether the collector answers HTTP at all."""
        try:
            self._send("GET", "/nodes", None, None)
        except httpx.TransportError:
            return False
        return True

    def create_node(self, name: str) -> Answer:
        return self._object("POST", "/nodes", {"name": name})

    def nodes(self) -> list[Answer]:
        return self._list("/nodes", "nodes")

    def enrolment(self, node: int) -> Answer:
        return self._object("POST", f"/nodes/{node}/enrolments", {})

    def revoke(self, node: int) -> None:
        self.call("POST", f"/nodes/{node}/revoke", {})

    def create_endpoint(self, node: int, name: str, port: int, listen: str) -> Answer:
        body = {"name": name, "protocol": "vless", "port": port, "listen": listen}
        return self._object("POST", f"/nodes/{node}/endpoints", body)

    def create_tunnel(self, node: int, host: str, port: int, addresses: Sequence[str]) -> Answer:
        options = {"type": "wireguard", "addresses": list(addresses)}
        body = {"name": "tunnel", "protocol": "wireguard", "port": port, "host": host, "options": options}
        return self._object("POST", f"/nodes/{node}/endpoints", body)

    def wireguard_file(self, user: int, endpoint: int) -> str:
        return self.text(f"/users/{user}/wireguard/{endpoint}/config")

    def create_user(self, name: str, **wanted: object) -> Answer:
        return self._object("POST", "/users", {"name": name, **wanted})

    def change_user(self, user: int, **changes: object) -> Answer:
        return self._object("PATCH", f"/users/{user}", changes)

    def delete_user(self, user: int) -> None:
        self.call("DELETE", f"/users/{user}")

    def usage(self, user: int) -> Answer:
        return self._object("GET", f"/users/{user}/usage")

    def sessions(self, user: int) -> Answer:
        return self._object("GET", f"/users/{user}/sessions")

    def all_sessions(self) -> Answer:
        return self._object("GET", "/sessions")

    def lift_penalty(self, user: int) -> None:
        self.call("DELETE", f"/users/{user}/penalty")

    def incidents(self) -> list[Answer]:
        return self._list("/incidents", "incidents")

    def quarantine(self) -> list[Answer]:
        return self._list("/quarantine", "quarantine")

    def events(self) -> list[Answer]:
        return self._list("/events", "events")

    def _object(self, method: str, path: str, body: Answer | None = None) -> Answer:
        answer = self.call(method, path, body)
        if not isinstance(answer, dict):
            raise TypeError(f"{method} {path} answered {answer!r}, not an object")
        return answer

    def _list(self, path: str, noun: str) -> list[Answer]:
        answer = self.call("GET", path)
        found = answer.get(noun) if isinstance(answer, dict) else answer
        if not isinstance(found, list):
            raise TypeError(f"GET {path} answered {answer!r}, not a list")
        return found

    def _answer(self, method: str, path: str, body: Answer | None, token: str | None) -> httpx.Response:
        answer = self._send(method, path, body, token if token is not None else self._admin_token())
        if answer.status_code == httpx.codes.UNAUTHORIZED and token is None:
            self._token = None
            answer = self._send(method, path, body, self._admin_token())
        return answer

    def _admin_token(self) -> str:
        if self._token is None:
            username, password = self._credentials
            body = {"username": username, "password": password}
            self._token = str(_read(self._send("POST", "/auth/token", body, None))["access_token"])
        return self._token

    def _send(self, method: str, path: str, body: Answer | None, bearer: str | None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        with (
            self._place.inside(),
            httpx.Client(
                base_url=self._url, verify=self._trust, trust_env=False, timeout=_TIMEOUT_S
            ) as client,
        ):
            return client.request(method, f"/api/v1{path}", json=body, headers=headers)


def _read(answer: httpx.Response) -> Any:  # noqa: ANN401 - what JSON may be
    content = None
    with contextlib.suppress(ValueError):
        content = answer.json() if answer.content else None
    if answer.is_error:
        raise ApiError(answer.status_code, content if isinstance(content, dict) else answer.text)
    return content
