"""Posting to a real receiver over real sockets: signed, confirmed or tried again, never hanging."""

import asyncio
import contextlib
import hashlib
import hmac
import http.server
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from collector import certificates, webhook
from collector.domain import webhooks
from collector.webhook import Receiver, WebhookError

SECRET = "s" * 32
NOW_MS = 1_800_000_000_500


@dataclass
class Listener:
    """A receiver of events; it answers each batch with the next status."""

    port: int = 0
    statuses: list[int] = field(default_factory=list)
    got: list[tuple[str, str, bytes]] = field(default_factory=list)


@contextlib.contextmanager
def _listening(*statuses: int, tls: Path | None = None) -> Iterator[Listener]:
    listener = Listener(statuses=list(statuses))

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            listener.got.append((self.path, self.headers[webhooks.SIGNATURE], body))
            self.send_response(listener.statuses.pop(0))
            self.send_header("location", "http://127.0.0.1:1/elsewhere")
            self.end_headers()

        def log_message(self, *_what: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    listener.port = server.server_port
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield listener
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _receiver(url: str, trust: ssl.SSLContext | None = None) -> Receiver:
    return Receiver(
        url=url, secret=SECRET, now_ms=lambda: NOW_MS, trust=trust or ssl.create_default_context()
    )


def test_a_batch_arrives_as_it_is_with_a_signature_that_can_be_checked() -> None:
    with _listening(204) as listener:
        asyncio.run(_receiver(f"http://127.0.0.1:{listener.port}/hook").post(b'{"events":[]}'))
    ((path, signature, body),) = listener.got
    assert (path, body) == ("/hook", b'{"events":[]}')
    moment, _, digest = signature.partition(",v1=")
    assert moment == f"t={NOW_MS // 1000}"
    signed = f"{NOW_MS // 1000}.".encode() + body
    assert digest == hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()


@pytest.mark.parametrize("status", [301, 400, 500])
def test_any_answer_but_a_2xx_is_a_failure_and_no_redirect_is_followed(status: int) -> None:
    with _listening(status) as listener:
        with pytest.raises(WebhookError, match=f"answered {status}"):
            asyncio.run(_receiver(f"http://127.0.0.1:{listener.port}/token-in-path").post(b"{}"))
        assert len(listener.got) == 1


def test_a_receiver_that_is_not_there_is_a_failure_in_words_without_its_path() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with pytest.raises(WebhookError) as failed:
        asyncio.run(_receiver(f"http://127.0.0.1:{port}/token-in-path").post(b"{}"))
    assert "token" not in str(failed.value)


def test_a_receiver_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "_ATTEMPT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(WebhookError, match="no answer"):
            asyncio.run(_receiver(f"http://127.0.0.1:{port}").post(b"{}"))


def test_what_speaks_no_http_is_a_failure() -> None:
    def babble(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b"220 mail.example\r\n")

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=babble, args=(server,))
        thread.start()
        with pytest.raises(WebhookError, match="speak"):
            asyncio.run(_receiver(f"http://127.0.0.1:{server.getsockname()[1]}").post(b"{}"))
        thread.join()


def test_a_certificate_that_nobody_trusts_gets_no_event(tmp_path: Path) -> None:
    now_ms = time.time_ns() // 1_000_000
    authority = certificates.authority(tmp_path / "tls", now_ms)
    chain = certificates.server_file(tmp_path / "tls", ("127.0.0.1",), now_ms)
    with _listening(200, tls=chain) as listener:
        url = f"https://127.0.0.1:{listener.port}/"
        with pytest.raises(WebhookError, match="certificate verify failed"):
            asyncio.run(_receiver(url).post(b"{}"))
        assert not listener.got
        asyncio.run(_receiver(url, ssl.create_default_context(cadata=authority.pem)).post(b"{}"))
        assert len(listener.got) == 1


def test_waits_grow_and_end_at_five_minutes() -> None:
    waits = [webhooks.wait_s(failures) for failures in range(1, 40)]
    assert waits[:3] == [2.0, 4.0, 8.0]
    assert waits == sorted(waits)
    assert waits[-1] == 300.0
