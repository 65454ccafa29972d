"""The log of a core that tells of connections nowhere else (V2Ray), read from a pipe into memory.

A line of it is `2026/11/22 03:44:55 198.51.100.7:51064 accepted tcp:example.org:443 [direct] email: u1-e2`.
What always holds: a line with a client's address in it goes nowhere but into the register, in memory; every
other line is handed on. A core drops lines while its own buffer is full, so what is known from here may be
less than there is, never more.
"""

import fcntl
import os
import re

from agent.drivers.xray import sockets, webhook

_PIPE_BYTES = 1 << 20
_READ_BYTES = 1 << 16
#: Longer lines are no lines; what came of one is forgotten.
_MAX_LINE_BYTES = 1 << 16
_ACCESS = re.compile(rb"\S+ \S+ (?:from )?(?:tcp:|udp:)?(\S+):(\d{1,5}) (accepted|rejected) (udp:)?")
_EMAIL = re.compile(rb" email: (\S+)\s*\Z")


class Log:
    """One core's log; `asks` as of the watcher's other peers: it tells."""

    asks = False

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._rest = b""
        os.set_blocking(descriptor, False)
        # As much as an ordinary process may have: the core waits for nobody, it drops lines.
        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def fileno(self) -> int:
        """The pipe."""
        return self._descriptor

    def close(self) -> None:
        """Read no more."""
        os.close(self._descriptor)

    def read(self) -> tuple[list[webhook.Event], bytes]:
        """Whose connections have begun, and the lines that are about no connection. Raises EOFError."""
        try:
            data = os.read(self._descriptor, _READ_BYTES)
        except BlockingIOError:
            return [], b""
        if not data:
            raise EOFError
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _MAX_LINE_BYTES:
            self._rest = b""
        heard = [found for line in lines if (found := event(line))]
        others = [line + b"\n" for line in lines if not _ACCESS.match(line)]
        return heard, b"".join(others)


def event(line: bytes) -> webhook.Event | None:
    """The account and the client's connection of a line; None when it is about something else."""
    place, owner = _ACCESS.match(line), _EMAIL.search(line)
    if place is None or owner is None or place[3] != b"accepted":
        return None
    try:
        peer = sockets.peer(place[1].decode().strip("[]"), int(place[2]))
        return webhook.Event(owner[1].decode(), peer, place[4] is not None)
    except ValueError:
        return None
