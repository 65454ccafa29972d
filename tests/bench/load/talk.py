"""A small blocking HTTP client of the collector's API over one kept connection: for admins and probes."""

import http.client
import ssl
from pathlib import Path
from typing import Any

import msgspec

_TIMEOUT_S = 60.0
_JSON = {"Content-Type": "application/json"}


class TalkError(Exception):
    """The collector refused; the text is what it said."""


class Talk:
    """Speaks over one connection, opened at the first call."""

    def __init__(self, host: str, port: int, ca: Path | None) -> None:
        if ca is None:
            self._connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT_S)
        else:
            trust = ssl.create_default_context(cafile=ca)
            self._connection = http.client.HTTPSConnection(host, port, timeout=_TIMEOUT_S, context=trust)

    def call(self, method: str, path: str, body: object = None, token: str | None = None) -> Any:  # noqa: ANN401 - what JSON may be
        """One request. Raises TalkError when it is refused, OSError when it is not heard."""
        headers = _JSON | ({"Authorization": f"Bearer {token}"} if token else {})
        self._connection.request(
            method, f"/api/v1{path}", msgspec.json.encode(body) if body else None, headers
        )
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status >= http.client.BAD_REQUEST:
            raise TalkError(f"{method} {path}: {answer.status} {content.decode(errors='replace')}")
        return msgspec.json.decode(content) if content else None

    def log_in(self, credentials: dict[str, str]) -> str:
        """An access token for these credentials."""
        return str(self.call("POST", "/auth/token", credentials)["access_token"])

    def answers(self) -> bool:
        """Whether anybody is there."""
        try:
            self.call("GET", "/users")
        except TalkError:
            return True
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
