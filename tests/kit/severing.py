"""A door in front of a server that can be shut at one word, before or after the server hears it.

What always holds: it is on loopback, and its threads end with it.
"""

import contextlib
import select
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

_CHUNK = 65_536
_ACCEPT_EVERY_S = 0.05


class Moment(Enum):
    """When the door shuts."""

    UNHEARD = "the word never arrives"
    UNANSWERED = "the word arrives, the answer is lost"


@dataclass
class Door:
    """Connections through it pass untouched until a trap is set."""

    port: int
    upstream: int
    word: bytes = b""
    moment: Moment | None = None
    #: Shut for newcomers too.
    barred: bool = False
    shut: int = 0
    bar_after: bool = False
    ended: threading.Event = field(default_factory=threading.Event)

    def trap(self, word: bytes, moment: Moment, *, barred: bool = False) -> None:
        """Shut the next connection that says this word; afterwards let nobody in if `barred`."""
        self.word, self.moment = word, moment
        self.bar_after = barred

    def serve(self, listener: socket.socket) -> None:
        """Take connections until the end."""
        listener.settimeout(_ACCEPT_EVERY_S)
        threads = []
        while not self.ended.is_set():
            with contextlib.suppress(TimeoutError):
                client, _ = listener.accept()
                if self.barred:
                    client.close()
                    continue
                thread = threading.Thread(target=self._carry, args=(client,))
                thread.start()
                threads.append(thread)
        for thread in threads:
            thread.join()

    def _carry(self, client: socket.socket) -> None:
        server = socket.create_connection(("127.0.0.1", self.upstream))
        with client, server:
            while not self.ended.is_set():
                ready, _, _ = select.select([client, server], [], [], _ACCEPT_EVERY_S)
                for one in ready:
                    said = _received(one)
                    if not said or (one is client and self._catches(said, server)):
                        return
                    (server if one is client else client).sendall(said)

    def _catches(self, said: bytes, server: socket.socket) -> bool:
        if self.moment is None or self.word not in said:
            return False
        moment, self.moment = self.moment, None
        self.barred = self.bar_after
        self.shut += 1
        if moment is Moment.UNANSWERED:
            server.sendall(said)
            select.select([server], [], [])
        return True


def _received(one: socket.socket) -> bytes:
    try:
        return one.recv(_CHUNK)
    except OSError:
        return b""


@contextlib.contextmanager
def door(upstream: int) -> Iterator[Door]:
    """A door in front of this port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        made = Door(port=int(listener.getsockname()[1]), upstream=upstream)
        thread = threading.Thread(target=made.serve, args=(listener,))
        thread.start()
        try:
            yield made
        finally:
            made.ended.set()
            thread.join()
