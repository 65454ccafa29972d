"""A collector as a process of its own, as an operator starts it."""

import json
import socket
import ssl
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.kit import programs, waiting

_START_S = 20.0
ABOUT = {"agent_version": "1", "hostname": "h"}


@dataclass
class Collector:
    """A collector of its own for each test; it is ended by its process handle."""

    data: Path
    port: int
    log: Path
    first: dict[str, Any] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    more: dict[str, str] = field(default_factory=dict)
    ca: Path | None = None
    scheme: str = "https"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def environment(self) -> dict[str, str]:
        return programs.clean_environment(
            {
                "TIDEGATE_COLLECTOR_DATA_DIR": str(self.data),
                "TIDEGATE_COLLECTOR_LISTEN": f"127.0.0.1:{self.port}",
                "TIDEGATE_COLLECTOR_NAMES": "127.0.0.1",
                "TIDEGATE_COLLECTOR_LOG_LEVEL": "debug",
                **self.more,
            }
        )

    def cli(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = programs.python("collector.cli", *words)
        return subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            timeout=30,
            env=self.environment(),
            cwd=programs.ROOT,
        )

    def told(self, *words: str) -> dict[str, Any]:
        done = self.cli(*words, "--json")
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)
        assert isinstance(answer, dict)
        return answer

    def start(self) -> None:
        with self.log.open("ab") as log:
            command = programs.python("collector.cli", "serve")
            self.process = subprocess.Popen(command, stderr=log, env=self.environment(), cwd=programs.ROOT)
        waiting.until(
            self.answers, within_s=_START_S, what=f"the collector to answer\n{self.log.read_text()}"
        )

    def answers(self) -> bool:
        try:
            with self.client() as client:
                return client.get("/healthz").is_success
        except httpx.TransportError:
            return False

    def client(self, token: str | None = None) -> httpx.Client:
        trust = self.scheme == "https" and ssl.create_default_context(cafile=self.ca or self.data / "ca.pem")
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return httpx.Client(base_url=self.url, verify=trust, trust_env=False, timeout=30.0, headers=headers)

    def token(self, **credentials: str) -> str:
        with self.client() as client:
            return str(client.post("/api/v1/auth/token", json=credentials).json()["access_token"])

    def admin(self) -> str:
        return self.token(username=self.first["username"], password=self.first["password"])

    def joined(self, name: str = "node-1") -> tuple[int, str]:
        """Enrol a node; returns its id and an access token."""
        token = self.told("node", "enroll", name)["token"]
        with self.client(token) as client:
            given = client.post("/api/v1/nodes/register", json=ABOUT).json()
        return given["node"], self.token(client_id=given["client_id"], client_secret=given["client_secret"])

    def stop(self) -> int:
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait(10)


def free_port() -> int:
    """A port of loopback that nobody uses."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
