"""Events of a collector that runs: streamed as they happen, posted to a receiver, holding up no stop."""

import contextlib
import http.server
import sqlite3
import threading
import time
from pathlib import Path

import msgspec
import pytest

from tests.collector.process import Collector, free_port
from tests.kit import waiting

pytestmark = pytest.mark.e2e

_SECRET = "w" * 40


def _kinds(bodies: list[bytes]) -> list[str]:
    return [one["kind"] for body in bodies for one in msgspec.json.decode(body)["events"]]


def _begun(data: Path) -> bool:
    with contextlib.closing(sqlite3.connect(data / "user.db")) as database:
        return bool(database.execute("SELECT 1 FROM fact WHERE name = 'webhook_sent'").fetchall())


def test_events_are_streamed_as_they_happen_and_a_stop_ends_the_stream(tmp_path: Path) -> None:
    collector = Collector(tmp_path / "data", free_port(), tmp_path / "log")
    collector.first = collector.told("init")
    collector.start()
    kinds: list[str] = []
    try:
        with (
            collector.client(collector.admin()) as client,
            client.stream("GET", "/api/v1/events/stream?wait=55&kind=NODE_CREATED") as stream,
        ):
            lines = stream.iter_lines()
            # The command line is another process: its commit is found, not told.
            enrolment = threading.Thread(target=collector.told, args=("node", "enroll", "node-1"))
            enrolment.start()
            kinds = [next(line for line in lines if line.startswith("event: "))]
            enrolment.join()
            began_s = time.monotonic()
            assert collector.stop() == 0
            assert time.monotonic() - began_s < 5
    finally:
        collector.stop()
    assert kinds == ["event: NODE_CREATED"]


def test_events_are_posted_once_the_receiver_takes_them_also_over_a_restart(tmp_path: Path) -> None:
    bodies: list[bytes] = []
    answer = [503]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            self.send_response(answer[0])
            self.end_headers()
            if answer[0] == 204:
                bodies.append(body)

        def log_message(self, *_what: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    collector = Collector(tmp_path / "data", free_port(), tmp_path / "log")
    collector.more = {
        "TIDEGATE_COLLECTOR_WEBHOOK_URL": f"http://127.0.0.1:{server.server_port}/hook",
        "TIDEGATE_COLLECTOR_WEBHOOK_SECRET": _SECRET,
    }
    try:
        collector.first = collector.told("init")
        collector.start()
        waiting.until(lambda: _begun(tmp_path / "data"), within_s=20, what="the first look at events")
        collector.told("node", "enroll", "node-1")
        collector.stop()
        answer[0] = 204
        collector.start()
        waiting.until(
            lambda: "NODE_CREATED" in _kinds(bodies),
            within_s=30,
            what=f"the event\n{collector.log.read_text()}",
        )
    finally:
        collector.stop()
        server.shutdown()
        thread.join()
        server.server_close()
    assert _kinds(bodies).count("NODE_CREATED") == 1
    assert _SECRET not in collector.log.read_text()
