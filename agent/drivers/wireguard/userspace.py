"""An interface of wireguard-go, spoken to through its socket.

What always holds: every call has a connection of its own and a deadline, so a daemon that was replaced or
hangs is noticed by the next call.
"""

import errno
import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from agent.drivers import base
from agent.drivers.wireguard import uapi
from agent.drivers.wireguard.peers import Backend, Change, Device, Seen, State

_CALL_S = 10.0
_PING_S = 2.0
_PORTION = 1 << 20


class Userspace(Device):
    """One wireguard-go."""

    backend: Backend = "userspace"

    def __init__(self, name: str, path: Path, generation: str) -> None:
        self.name = name
        self.generation = generation
        self._path = path
        self._known: Mapping[bytes, Seen] = {}

    def configure(self, private_key: str, port: int) -> None:
        """One transaction."""
        self._ask([uapi.configuration(private_key, port)])

    def apply(self, changes: Sequence[Change]) -> None:
        """Transactions of bounded length."""
        self._ask(uapi.pieces(changes))

    def state(self) -> State:
        """One answer, of which only what has changed is taken apart."""
        answer = self._ask([uapi.GET])
        self._known = answer.known
        return answer.state

    def ping(self) -> None:
        """A transaction that changes nothing."""
        self._ask([uapi.PING], _PING_S)

    def _ask(self, requests: Iterable[bytes], within_s: float = _CALL_S) -> uapi.Answer:
        answer = uapi.Answer()
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as talk:
                talk.settimeout(within_s)
                talk.connect(str(self._path))
                for request in requests:
                    talk.sendall(request)
                    answer = self._answer(talk)
        except TimeoutError:
            raise base.DriverError(
                f"the interface {self.name} did not answer within {within_s:g} s"
            ) from None
        except (ConnectionError, FileNotFoundError):
            raise base.CoreDownError(f"nobody serves the interface {self.name}") from None
        except OSError as error:
            raise base.DriverError(f"the interface {self.name} cannot be asked: {error.strerror}") from None
        except uapi.UapiError as wrong:
            raise base.DriverError(f"the interface {self.name} cannot be understood: {wrong}") from None
        return answer

    def _answer(self, talk: socket.socket) -> uapi.Answer:
        answer = uapi.Answer(self._known)
        complete = False
        while not complete:
            portion = talk.recv(_PORTION)
            if not portion:
                raise ConnectionResetError
            complete = answer.feed(portion)
        if answer.errno:
            raise base.DriverError(f"the interface {self.name} refused: {_said(answer.errno)}")
        return answer


def _said(number: int) -> str:
    if abs(number) == errno.EADDRINUSE:
        return "another program has its port"
    return os.strerror(abs(number))
