"""The host's own thread: hears Xray's webhook, answers the agent, prunes the register, keeps the fence.

One loop over non-blocking sockets. What always holds: whatever a peer sends harms its own connection only;
events that have arrived are registered before a question about connections is answered; Xray's output in
memory stays bounded.

The control protocol is one JSON object a line, answered by one: `{"op": "connections", "emails": [..]|null}`
gives `{"connections": {email: [peer in hex, ..]}, "datagrams": the same of clients on UDP, "shared": {email:
{peer: [whom it carries besides, ..]}}}`, `{"op": "rates", "rates": {email: [up, down]}|null}` sets rates in
kbit/s, unless null, and gives those that are kept and the `problem` with it, `{"op": "stats"}` gives counts
and whether the fence has cut everybody off, `fenced`; anything else gives `{"error": sentence}`.
"""

import contextlib
import json
import os
import selectors
import signal
import socket
import stat
import sys
import time
from pathlib import Path

from agent.drivers.xray import accesslog, census, fence, runfile, webhook

MAX_QUESTION_BYTES = 4 << 20
MAX_OUTPUT_BYTES = 64 << 10
#: Xray names its version in its first lines, so these stay when its output is cut.
KEPT_OUTPUT_BYTES = 4 << 10
_KILL_AFTER_S = 3.0
_END_CHECK_S = 0.5
_READ_BYTES = 1 << 16
_ROUNDS = 4


class _Connection:
    """One peer: the agent, who asks, or Xray, who tells; what came from it and what is still to go out."""

    def __init__(self, sock: socket.socket, *, asks: bool) -> None:
        self.sock = sock
        self.asks = asks
        self.inbox = bytearray()
        self.outbox = bytearray()
        self.last = False


class Watcher:
    """Everything the host does besides being Xray."""

    def __init__(self, spec: runfile.Spec) -> None:
        self._spec = spec
        self._malformed = 0
        self._selector = selectors.DefaultSelector()
        self._began_s = time.monotonic()
        self._census = census.Census(spec, self._began_s)
        self._fence = fence.Fence(spec, self._began_s)
        self._kill_at_s: float | None = None
        run_dir = Path(spec.run_dir)
        for left_over in (runfile.API_SOCKET, runfile.API_SOCKET + ".lock"):
            (run_dir / left_over).unlink(missing_ok=True)
        self._hooks = _listen(run_dir / runfile.WEBHOOK_SOCKET)
        self._control = _listen(run_dir / runfile.CONTROL_SOCKET)
        for listener in (self._hooks, self._control):
            self._selector.register(listener, selectors.EVENT_READ)

    def hear(self, descriptor: int) -> None:
        """Take the connections of a core that tells of them in its log from this pipe."""
        self._selector.register(descriptor, selectors.EVENT_READ, accesslog.Log(descriptor))

    def run(self) -> None:
        """Serve for ever; the process ends by a signal."""
        due_s = 0.0
        while True:
            now_s = time.monotonic()
            limiting_s = self._census.due_s(now_s)
            left_s = max(0.0, due_s - now_s)
            self.turn(left_s if limiting_s is None else min(left_s, limiting_s))
            now_s = time.monotonic()
            self._census.limit(now_s)
            if now_s >= due_s or self._census.grown():
                due_s = now_s + self._attend(now_s)

    def turn(self, timeout_s: float) -> None:
        """Serve what is ready: events first, so that an answer knows all that has arrived."""
        ready = self._selector.select(timeout_s)
        for _ in range(_ROUNDS):
            hooks = [entry for entry in ready if not self._is_control(entry[0])]
            for key, mask in hooks:
                self._serve(key, mask)
            if not hooks or len(hooks) == len(ready):
                break
            ready = self._selector.select(0)
        for key, mask in ready:
            if self._is_control(key):
                self._serve(key, mask)

    def _is_control(self, key: selectors.SelectorKey) -> bool:
        return key.data.asks if key.data else key.fileobj is self._control

    def _serve(self, key: selectors.SelectorKey, mask: int) -> None:
        connection = key.data
        if connection is None:
            self._accept(key.fileobj)  # type: ignore[arg-type]  # only listeners are registered without data
            return
        if isinstance(connection, accesslog.Log):
            self._listen_to(connection)
            return
        try:
            if mask & selectors.EVENT_READ:
                self._receive(connection)
            self._send(connection)
        except OSError:
            self._close(connection)
        except Exception as error:  # noqa: BLE001 - one peer's input must never end the host
            sys.stderr.write(f"a request failed: {type(error).__name__}\n")
            self._close(connection)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            sock.setblocking(False)
            connection = _Connection(sock, asks=listener is self._control)
            self._selector.register(sock, selectors.EVENT_READ, connection)

    def _listen_to(self, log: accesslog.Log) -> None:
        try:
            heard, others = log.read()
        except (EOFError, OSError):
            self._selector.unregister(log)
            log.close()
            return
        for event in heard:
            self._census.note(event)
        os.write(1, others)

    def _receive(self, connection: _Connection) -> None:
        data = connection.sock.recv(_READ_BYTES)
        if not data:
            raise ConnectionError
        connection.inbox += data
        reply = self._answer_question if connection.asks else self._answer_hook
        answer, last = reply(connection.inbox)
        connection.outbox += answer
        connection.last |= last

    def _send(self, connection: _Connection) -> None:
        if connection.outbox:
            with contextlib.suppress(BlockingIOError):
                del connection.outbox[: connection.sock.send(connection.outbox)]
        if connection.last and not connection.outbox:
            self._close(connection)
            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.outbox else 0)
        if self._selector.get_key(connection.sock).events != wanted:
            self._selector.modify(connection.sock, wanted, connection)

    def _close(self, connection: _Connection) -> None:
        self._selector.unregister(connection.sock)
        connection.sock.close()

    def _answer_hook(self, inbox: bytearray) -> tuple[bytes, bool]:
        try:
            bodies = webhook.split(inbox)
        except webhook.MalformedError:
            self._malformed += 1
            return webhook.REFUSAL, True
        for body in bodies:
            self._census.note(webhook.event(body))
        return webhook.ANSWER * len(bodies), False

    def _answer_question(self, inbox: bytearray) -> tuple[bytes, bool]:
        answers = b""
        while (end := inbox.find(b"\n")) >= 0:
            answers += json.dumps(self._answer(bytes(inbox[:end]))).encode() + b"\n"
            del inbox[: end + 1]
        return answers, len(inbox) > MAX_QUESTION_BYTES

    def _answer(self, line: bytes) -> dict[str, object]:
        try:
            question = json.loads(line)
            if question["op"] == "connections":
                return self._census.connections(question.get("emails"))
            if question["op"] == "rates":
                return self._census.keep_rates(question.get("rates"))
            if question["op"] == "stats":
                return self._stats()
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return {"error": "the question cannot be understood"}
        return {"error": "no such question"}

    def _stats(self) -> dict[str, object]:
        return {
            "uptime_s": int(time.monotonic() - self._began_s),
            **self._census.counts(),
            "malformed": self._malformed,
            "fenced": self._fence.fenced,
        }

    def _attend(self, now_s: float) -> float:
        """Do what is due now and then; returns the seconds until the next time."""
        self._census.attend(now_s)
        trim(1)
        if self._kill_at_s is not None and now_s >= self._kill_at_s:
            os._exit(1)
        try:
            return self._fence.attend(now_s)
        except fence.PowerlessError as reason:
            self._end(now_s, str(reason))
            return _END_CHECK_S

    def _end(self, now_s: float, reason: str) -> None:
        if self._kill_at_s is None:
            sys.stderr.write(f"no agent is left, and nobody can be cut off ({reason}): ending\n")
            self._kill_at_s = now_s + _KILL_AFTER_S
            os.kill(os.getpid(), signal.SIGTERM)


def trim(descriptor: int) -> None:
    """Cut output that has grown too long down to its head; standard output is a file in memory here."""
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and status.st_size > MAX_OUTPUT_BYTES:
        os.ftruncate(descriptor, KEPT_OUTPUT_BYTES)


def _listen(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    # Xray opens a connection for every event that finds none idle, and gives up when the queue is full.
    listener.listen(4096)
    listener.setblocking(False)
    return listener
