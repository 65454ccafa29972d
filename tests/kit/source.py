"""A server of bytes to pull and push, which counts what it sent: `python -m tests.kit.source [HOST:]PORT`.

`GET /bytes/N` answers N bytes, `GET /bytes/N?rate=R` no more than R of them a second; `POST` with a length
takes that many bytes. A path's label is its text: give each client a path of its own (`?who=alice`) and
`sent[path]` says what it was sent, as far as the kernel took it. Binds to the loopback network unless told.
"""

import collections
import socketserver
import sys
import threading
import time
import urllib.parse
from types import TracebackType
from typing import Self

_CHUNK = bytes(64 * 1024)


class _Handler(socketserver.StreamRequestHandler):
    """One connection: requests until its end."""

    server: "Source"

    def handle(self) -> None:
        """Answer requests; a client that goes away in the middle is nothing special."""
        try:
            while line := self.rfile.readline(8192):
                method, path, *_ = line.decode().split()
                length = self._length()
                if method == "POST":
                    self._sink(path, length)
                else:
                    self._send(path)
        except (OSError, ValueError):
            return

    def _length(self) -> int:
        length = 0
        while (line := self.rfile.readline(8192)).strip():
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        return length

    def _sink(self, path: str, length: int) -> None:
        while length > 0:
            data = self.rfile.read1(min(length, len(_CHUNK)))
            if not data:
                raise ConnectionError
            length -= len(data)
            self.server.note(self.server.received, path, len(data))
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    def _send(self, path: str) -> None:
        parsed = urllib.parse.urlsplit(path)
        left = int(parsed.path.removeprefix("/bytes/"))
        rate = int(urllib.parse.parse_qs(parsed.query).get("rate", ["0"])[0])
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % left)
        began_s, sent = time.monotonic(), 0
        step = min(len(_CHUNK), max(1, rate // 50)) if rate else len(_CHUNK)
        while left > 0 and not self.server.closing.is_set():
            count = self.request.send(_CHUNK[: min(left, step)])
            left, sent = left - count, sent + count
            self.server.note(self.server.sent, path, count)
            if rate:
                self.server.closing.wait(max(0.0, sent / rate - (time.monotonic() - began_s)))


class Source(socketserver.ThreadingTCPServer):
    """The server, in threads; use as a context manager."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 1024

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        super().__init__((host, port), _Handler)
        self.sent: collections.Counter[str] = collections.Counter()
        self.received: collections.Counter[str] = collections.Counter()
        self.closing = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])

    def note(self, counter: collections.Counter[str], path: str, count: int) -> None:
        """Add to a counter, from any thread."""
        with self._lock:
            counter[path] += count

    def handle_error(self, request: object, client_address: object) -> None:
        """A broken connection is a client's own business."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.set()
        self.shutdown()
        self.server_close()
        self._thread.join()


if __name__ == "__main__":
    host, _, port = sys.argv[1].rpartition(":")
    with Source(host or "127.0.0.1", int(port)) as source:
        print(source.port, flush=True)  # noqa: T201 - whoever started it reads the port here
        sys.stdin.read()
