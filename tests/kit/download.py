"""A download, through a SOCKS5 proxy or without, that counts every byte: `python -m tests.kit.download …`.

Runs inside the client's namespace and says what happens as JSON lines on standard output: `progress`
while bytes arrive, `mark` when a number of bytes was reached, `end` once. Bytes are those on the socket
after the SOCKS handshake: the request, and the answer's headers and body, which is exactly what the far
side of a VPN counts as payload.
"""

import argparse
import json
import re
import socket
import struct
import sys
import time
from dataclasses import dataclass, field

_CHUNK_BYTES = 65_536
_PROGRESS_US = 100_000
_SOCKS_HELLO = b"\x05\x01\x00"


@dataclass
class Transfer:
    """Bytes of one download so far, and when; times are microseconds since the epoch."""

    mark_bytes: int | None = None
    silent: bool = False
    sent: int = 0
    received: int = 0
    first_byte_at_us: int | None = None
    last_byte_at_us: int | None = None
    expected: int | None = None
    head: bytearray = field(default_factory=bytearray)
    said_at_us: int = 0

    @property
    def total(self) -> int:
        return self.sent + self.received

    def learn(self, chunk: bytes) -> None:
        """Learn from the headers how many bytes the whole answer has."""
        self.head += chunk
        headers, found, _ = bytes(self.head).partition(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", headers) if found else None
        if length:
            self.expected = len(headers) + 4 + int(length[1])

    def take(self, chunk: bytes) -> None:
        """Count a chunk and say so when it is time to."""
        now_us = time.time_ns() // 1000
        if self.first_byte_at_us is None:
            self.first_byte_at_us = now_us
        if self.expected is None:
            self.learn(chunk)
        before, self.received, self.last_byte_at_us = self.total, self.received + len(chunk), now_us
        if self.mark_bytes is not None and before < self.mark_bytes <= self.total:
            self.say("mark", now_us)
        if now_us - self.said_at_us >= _PROGRESS_US:
            self.said_at_us = now_us
            self.say("progress", now_us)

    def say(self, event: str, at_us: int, **more: object) -> None:
        """Write one line, unless it is to be silent."""
        if self.silent:
            return
        line = {"event": event, "at_us": at_us, "sent": self.sent, "received": self.received}
        sys.stdout.write(json.dumps(line | more) + "\n")
        sys.stdout.flush()


def connect(proxy: tuple[str, int] | None, target: tuple[str, int], *, timeout_s: float) -> socket.socket:
    """A connection to the target, through the proxy if there is one (RFC 1928, no authentication, IPv4).

    Raises:
        OSError: the proxy could not be reached or refused.
    """
    connection = socket.create_connection(proxy or target, timeout=timeout_s)
    if proxy is None:
        return connection
    connection.sendall(_SOCKS_HELLO)
    _exactly(connection, 2)
    host, port = target
    connection.sendall(b"\x05\x01\x00\x01" + socket.inet_aton(host) + struct.pack("!H", port))
    answer = _exactly(connection, 10)
    if answer[1] != 0:
        raise ConnectionRefusedError(f"the proxy answered {answer[1]}")
    return connection


def fetch(connection: socket.socket, path: str, transfer: Transfer) -> str:
    """Pull one document and return how it ended: complete, cut, refused or stalled."""
    request = f"GET {path} HTTP/1.1\r\nHost: source\r\nConnection: close\r\n\r\n".encode()
    try:
        connection.sendall(request)
        transfer.sent = len(request)
        while chunk := connection.recv(_CHUNK_BYTES):
            transfer.take(chunk)
            if transfer.received == transfer.expected:
                return "complete"
    except TimeoutError:
        return "stalled"
    except OSError:
        pass
    return "cut" if transfer.received else "refused"


def main() -> None:
    """Download once and say how it went; the exit status is 0 whatever became of it."""
    arguments = _parser().parse_args()
    transfer = Transfer(arguments.mark)
    proxy = _address(arguments.socks) if arguments.socks else None
    try:
        connection = connect(proxy, _address(arguments.target), timeout_s=arguments.timeout)
    except TimeoutError:
        _end(transfer, "stalled")
        return
    except OSError:
        _end(transfer, "refused")
        return
    with connection:
        _end(transfer, fetch(connection, arguments.path, transfer))


def _end(transfer: Transfer, how: str) -> None:
    transfer.say(
        "end",
        time.time_ns() // 1000,
        how=how,
        first_byte_at_us=transfer.first_byte_at_us,
        last_byte_at_us=transfer.last_byte_at_us,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.kit.download", description=__doc__)
    parser.add_argument("--socks", metavar="HOST:PORT", help="directly without one")
    parser.add_argument("--target", required=True, metavar="ADDRESS:PORT")
    parser.add_argument("--path", required=True)
    parser.add_argument("--mark", type=int, help="say when this many bytes, both ways, have passed")
    parser.add_argument("--timeout", type=float, default=10.0, help="seconds of silence to bear")
    return parser


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


def _exactly(connection: socket.socket, count: int) -> bytes:
    got = b""
    while len(got) < count:
        if not (chunk := connection.recv(count - len(got))):
            raise ConnectionResetError("the proxy hung up")
        got += chunk
    return got


if __name__ == "__main__":
    main()
