"""What agent and collector say to each other, as it is on the wire before TLS: a tap at the agent's place.

The agent speaks plain HTTP to the tap, which only its own machine reaches; the tap speaks HTTPS to the
collector. What always holds: every byte of both directions is passed on unchanged and kept.
"""

import contextlib
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator

from tests.kit import lab, servers

_CHUNK_BYTES = 1 << 16


class Wire(socketserver.ThreadingTCPServer):
    """The tap; `said` and `answered` are what the agent and the collector sent."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, collector: servers.Collector, port: int) -> None:
        self.said = bytearray()
        self.answered = bytearray()
        self.url = f"http://127.0.0.1:{port}"
        self._target = (collector.place.address, collector.port)
        self._trust = ssl.create_default_context(cafile=collector.data / "ca.pem")
        super().__init__(("127.0.0.1", port), _Call)

    def upstream(self) -> ssl.SSLSocket:
        """A connection to the collector. Raises OSError when it is away."""
        plain = socket.create_connection(self._target, timeout=60)
        return self._trust.wrap_socket(plain, server_hostname=self._target[0])


class _Call(socketserver.BaseRequestHandler):
    """One connection of the agent's."""

    server: Wire
    request: socket.socket

    def handle(self) -> None:
        """Pass on in both directions until either side ends."""
        with contextlib.suppress(OSError), self.server.upstream() as there:
            back = threading.Thread(target=self._back, args=(there,), daemon=True)
            back.start()
            self._copy(self.request, there, self.server.said)
            with contextlib.suppress(OSError):
                there.shutdown(socket.SHUT_RDWR)
            back.join(5)

    def _back(self, there: ssl.SSLSocket) -> None:
        self._copy(there, self.request, self.server.answered)
        with contextlib.suppress(OSError):
            self.request.shutdown(socket.SHUT_RDWR)

    def _copy(self, one: socket.socket, other: socket.socket, kept: bytearray) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(_CHUNK_BYTES):
                kept += data
                other.sendall(data)


@contextlib.contextmanager
def tapped(collector: servers.Collector, place: lab.Place) -> Iterator[Wire]:
    """A tap at a place; threads begun there stay there."""
    with place.inside():
        tap = Wire(collector, place.free_port())
        thread = threading.Thread(target=tap.serve_forever, daemon=True)
        thread.start()
    try:
        yield tap
    finally:
        tap.shutdown()
        tap.server_close()
        thread.join()
