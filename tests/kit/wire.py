"""What agent and collector say to each other, as it is on the wire before TLS: a tap at the agent's place.

The agent speaks plain HTTP to the tap, which only its own machine reaches; the tap speaks HTTPS to the
collector. What always holds: every byte of both directions is passed on unchanged and kept.
"""

import contextlib
import select
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
        """Pass on in both directions until either side ends.

        By one thread: two of them in one TLS connection get into each other's way.
        """
        with contextlib.suppress(OSError), self.server.upstream() as there:
            while self._passed_on(there):
                pass

    def _passed_on(self, there: ssl.SSLSocket) -> bool:
        ready = [there] if there.pending() else select.select([self.request, there], [], [])[0]
        if self.request in ready:
            data = self.request.recv(_CHUNK_BYTES)
            self.server.said += data
            there.sendall(data)
            if not data:
                return False
        return there not in ready or self._answered(there)

    def _answered(self, there: ssl.SSLSocket) -> bool:
        # What is readable may be a ticket of TLS's own, with nothing behind it to wait for.
        there.setblocking(False)
        try:
            data = there.recv(_CHUNK_BYTES)
        except ssl.SSLWantReadError:
            return True
        finally:
            there.settimeout(60)
        self.server.answered += data
        self.request.sendall(data)
        return bool(data)


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
