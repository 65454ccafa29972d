"""The collector as a process, over real TLS: it starts, serves, hears of foreign commits, and stops."""

import contextlib
import hashlib
import json
import signal
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from collector import certificates
from tests.collector import process
from tests.collector.process import Collector

pytestmark = pytest.mark.e2e

_MAX_RSS_KB = 70 * 1024


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    made = Collector(tmp_path / "data", process.free_port(), tmp_path / "log")
    made.first = made.told("init")
    made.start()
    try:
        yield made
    finally:
        made.stop()


@dataclass
class Poll:
    """A long poll that waits in a thread of its own."""

    thread: threading.Thread
    answers: list[httpx.Response | httpx.TransportError]

    def answer(self, within_s: float) -> httpx.Response:
        self.thread.join(within_s)
        assert self.answers, "the poll still waits"
        assert isinstance(self.answers[0], httpx.Response), self.answers
        return self.answers[0]


@contextlib.contextmanager
def _polling(collector: Collector, node: int, token: str) -> Iterator[Poll]:
    answers: list[httpx.Response | httpx.TransportError] = []
    asked = threading.Event()

    def run() -> None:
        def sent(_request: httpx.Request) -> None:
            asked.set()

        with collector.client(token) as client:
            client.event_hooks["request"] = [sent]
            try:
                answers.append(client.get(f"/api/v1/nodes/{node}/configs?since=0&wait=20"))
            except httpx.TransportError as error:
                answers.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert asked.wait(10)
    # A request made after the poll's is answered after the poll has begun to wait.
    with collector.client(token) as client:
        client.post("/api/v1/usage", json={"ledger": "l", "rows": []})
    assert not answers
    yield Poll(thread, answers)
    thread.join(30)


def test_the_hash_that_init_prints_is_that_of_the_ca_that_is_served(collector: Collector) -> None:
    with collector.client() as client:
        pem = client.get("/api/v1/ca").text
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()
    assert collector.first["ca_hash"] == f"sha256:{digest}"
    assert pem == (collector.data / "ca.pem").read_text()


def test_answers_name_no_server_software(collector: Collector) -> None:
    with collector.client() as client:
        assert "server" not in client.get("/healthz").headers


def test_a_modern_client_gets_tls_1_3(collector: Collector) -> None:
    context = ssl.create_default_context(cafile=collector.data / "ca.pem")
    with (
        socket.create_connection(("127.0.0.1", collector.port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
    ):
        assert secure.version() == "TLSv1.3"


def test_the_idle_collector_stays_small(collector: Collector) -> None:
    collector.admin()
    assert collector.process
    status = Path("/proc", str(collector.process.pid), "status").read_text()
    size_kb = int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))
    assert size_kb < _MAX_RSS_KB


def test_many_processes_worth_of_connections_spend_a_token_once(collector: Collector) -> None:
    token = collector.told("node", "enroll", "node-1")["token"]

    def use(_number: int) -> int:
        with collector.client(token) as client:
            return client.post("/api/v1/nodes/register", json=process.ABOUT).status_code

    with ThreadPoolExecutor(16) as pool:
        statuses = Counter(pool.map(use, range(64)))
    assert statuses == {200: 1, 401: 63}


def test_a_node_revoked_on_the_command_line_is_out_within_five_seconds(collector: Collector) -> None:
    node, token = collector.joined()
    with _polling(collector, node, token) as poll:
        assert collector.cli("node", "revoke", "node-1").returncode == 0
        started_s = time.monotonic()
        assert poll.answer(within_s=5.0).status_code == 401
        assert time.monotonic() - started_s < 5
    with collector.client(token) as client:
        assert client.post("/api/v1/usage", json={"ledger": "l", "rows": []}).status_code == 401


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_waiting_polls_and_the_process_at_once_with_status_zero(
    collector: Collector, number: signal.Signals
) -> None:
    node, token = collector.joined()
    with _polling(collector, node, token) as poll:
        assert collector.process
        started_s = time.monotonic()
        collector.process.send_signal(number)
        assert poll.answer(within_s=5.0).status_code == 200
        assert collector.process.wait(5) == 0
        assert time.monotonic() - started_s < 2
    assert "Traceback" not in collector.log.read_text()


def test_a_client_that_holds_its_connection_does_not_hold_up_the_stop(collector: Collector) -> None:
    context = ssl.create_default_context(cafile=collector.data / "ca.pem")
    with (
        socket.create_connection(("127.0.0.1", collector.port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as half,
    ):
        half.sendall(b"POST /api/v1/auth/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n")
        half.sendall(b"Content-Length: 100\r\n\r\n{")
        assert collector.answers()
        started_s = time.monotonic()
        assert collector.stop() == 0
        assert time.monotonic() - started_s < 3


def test_a_second_collector_on_the_same_directory_is_refused_in_words(collector: Collector) -> None:
    done = collector.cli("serve")
    assert done.returncode == 1
    assert "in use" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_taken_port_is_told_in_words(collector: Collector, tmp_path: Path) -> None:
    other = Collector(tmp_path / "other", collector.port, tmp_path / "other.log")
    other.told("init")
    done = other.cli("serve")
    assert done.returncode == 1
    assert "cannot listen" in done.stderr
    assert "Traceback" not in done.stderr


def test_behind_a_proxy_it_speaks_plain_http_and_enrolls_by_the_url_of_the_proxy(tmp_path: Path) -> None:
    settings = {"TIDEGATE_COLLECTOR_BEHIND_PROXY": "yes", "TIDEGATE_COLLECTOR_URL": "https://panel.example"}
    with _other(tmp_path, settings, scheme="http") as plain:
        line = plain.told("node", "enroll", "node-1")
        assert line["command"] == f"tidegate-agent enroll https://panel.example {line['token']}"
        with plain.client() as client:
            assert client.get("/api/v1/ca").status_code == 404


def test_an_own_certificate_is_served_instead_of_one_of_our_ca(tmp_path: Path) -> None:
    pair = str(certificates.server_file(tmp_path / "own", ("127.0.0.1",), time.time_ns() // 1_000_000))
    settings = {"TIDEGATE_COLLECTOR_TLS_CERT_FILE": pair, "TIDEGATE_COLLECTOR_TLS_KEY_FILE": pair}
    with _other(tmp_path, settings, ca=tmp_path / "own" / "authority.pem") as own:
        assert own.first["ca_hash"] is None
        assert not (own.data / "ca.pem").exists()


def test_a_certificate_that_is_none_is_told_in_words(tmp_path: Path) -> None:
    (tmp_path / "c.pem").write_text("rubbish")
    file = str(tmp_path / "c.pem")
    settings = {"TIDEGATE_COLLECTOR_TLS_CERT_FILE": file, "TIDEGATE_COLLECTOR_TLS_KEY_FILE": file}
    other = Collector(tmp_path / "data", process.free_port(), tmp_path / "log", more=settings)
    other.told("init")
    done = other.cli("serve")
    assert done.returncode == 1
    assert "no usable certificate and key" in done.stderr
    assert "Traceback" not in done.stderr


@contextlib.contextmanager
def _other(
    directory: Path, settings: dict[str, str], *, ca: Path | None = None, scheme: str = "https"
) -> Iterator[Collector]:
    made = Collector(
        directory / "data", process.free_port(), directory / "log", more=settings, ca=ca, scheme=scheme
    )
    made.first = made.told("init")
    made.start()
    try:
        yield made
    finally:
        made.stop()


def test_after_a_kill_the_collector_serves_the_same_state(collector: Collector) -> None:
    node, token = collector.joined()
    assert collector.process
    collector.process.kill()
    collector.process.wait(10)
    collector.start()
    with collector.client(token) as client:
        assert client.get(f"/api/v1/nodes/{node}/configs").status_code == 200
    assert collector.told("node", "list")["nodes"][0]["enrolled"] is True


def test_the_clock_of_a_served_collector_ends_what_has_its_time(collector: Collector) -> None:
    node, token = collector.joined()
    with collector.client(collector.admin()) as admin, collector.client(token) as agent:
        way = admin.post(
            f"/api/v1/nodes/{node}/endpoints", json={"name": "main", "protocol": "vless", "port": 443}
        )
        start_ms = time.time_ns() // 1_000_000
        body = {"name": "ada", "duration_s": 2, "start_at_ms": start_ms, "endpoints": [way.json()["id"]]}
        user = admin.post("/api/v1/users", json=body).json()
        assert user["status"] == "active"
        generation = agent.get(f"/api/v1/nodes/{node}/configs").json()["generation"]
        news = agent.get(f"/api/v1/nodes/{node}/configs?since={generation}&wait=20").json()
        late_ms = time.time_ns() // 1_000_000 - user["expires_ms"]
        assert [item.get("body") for item in news["items"]] == [None]
        assert admin.get(f"/api/v1/users/{user['id']}").json()["status"] == "expired"
    assert 0 <= late_ms < 1_500


def test_what_is_no_http_and_no_tls_is_survived(collector: Collector) -> None:
    context = ssl.create_default_context(cafile=collector.data / "ca.pem")
    for rubbish in (b"\x00" * 64, b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 4096):
        with socket.create_connection(("127.0.0.1", collector.port), timeout=10) as plain:
            plain.sendall(rubbish)
            with contextlib.suppress(OSError):
                plain.recv(100)
        with (
            socket.create_connection(("127.0.0.1", collector.port), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
            contextlib.suppress(OSError),
        ):
            secure.sendall(rubbish)
            secure.recv(100)
    assert collector.answers()


def test_the_log_is_json_and_holds_no_address_and_no_secret(collector: Collector) -> None:
    _, token = collector.joined()
    collector.admin()
    collector.stop()
    lines = collector.log.read_text().splitlines()
    assert [json.loads(line)["event"] for line in lines][:1] == ["serving"]
    said = "".join(line for line in lines if '"serving"' not in line)
    for secret in (token, collector.first["password"], "127.0.0.1", "argon2id"):
        assert secret not in said


def test_who_is_below_a_manager_that_is_switched_off_is_off_the_nodes_at_once(collector: Collector) -> None:
    node, token = collector.joined()
    with collector.client(collector.admin()) as admin:

        def made(path: str, **fields: object) -> int:
            return int(admin.post(f"/api/v1/{path}", json=fields).json()["id"])

        endpoint = made(f"nodes/{node}/endpoints", name="main", protocol="vless", port=4433)
        top = made("managers", name="top")
        leaf = made("managers", name="leaf", parent=top)
        user = made("users", name="ann", manager=leaf, endpoints=[endpoint])
        with collector.client(token) as agent:
            poll = f"/api/v1/nodes/{node}/configs"
            before = agent.get(poll).json()["generation"]
            began = time.monotonic()
            assert admin.patch(f"/api/v1/managers/{top}", json={"active": False}).is_success
            news = agent.get(f"{poll}?since={before}&wait=20").json()
        assert [item["key"] for item in news["items"]] == [f"account/{user}/{endpoint}"]
        assert "body" not in news["items"][0]
        assert time.monotonic() - began < 5
        assert admin.get(f"/api/v1/users/{user}").json()["reason"] == "manager"
