"""A site with TLS 1.3 on loopback: what REALITY shows to strangers, and a source of bytes inside TLS.

Every connection gets a TLS handshake; `GET /bytes/N` is answered with N bytes, no more than `rate` of them a
second, anything else is read and dropped.
"""

import contextlib
import socket
import ssl
import threading
import time
from types import TracebackType
from typing import Self

from tests.matrix import keys

_CHUNK = bytes(64 * 1024)


class Site:
    """The server, in threads; use as a context manager."""

    def __init__(self, certificate: keys.Certificate, address: str, *, rate: int = 0) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_3
        self._context.load_cert_chain(certificate.certificate, certificate.key)
        self._rate = rate
        self._closing = threading.Event()
        self._listener = socket.create_server((address, 0), backlog=128)
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while not self._closing.is_set():
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError), connection:
            connection.settimeout(30)
            with self._context.wrap_socket(connection, server_side=True) as sealed:
                while request := sealed.recv(8192):
                    words = request.split()
                    if words[:1] == [b"GET"]:
                        self._send(sealed, int(words[1].removeprefix(b"/bytes/")))

    def _send(self, sealed: ssl.SSLSocket, left: int) -> None:
        began_s, sent = time.monotonic(), 0
        while left > sent and not self._closing.is_set():
            sent += sealed.send(_CHUNK[: min(left - sent, len(_CHUNK))])
            if self._rate:
                self._closing.wait(max(0.0, sent / self._rate - (time.monotonic() - began_s)))
