"""Asks the collector a light question again and again, as an admin's page would, and times the answers."""

import contextlib
import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from tests.bench.load.talk import Talk

_EVERY_S = 0.02


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Whom to ask, with which token, and what."""

    address: tuple[str, int]
    ca: Path | None
    token: str
    path: str
    cores: tuple[int, ...]


@dataclass(frozen=True)
class Answers:
    """How long every answer took."""

    took_ms: Sequence[float]

    def within_ms(self, percent: float) -> float:
        """The time within which so many percent came."""
        ranked = sorted(self.took_ms)
        return ranked[math.ceil(len(ranked) * percent / 100) - 1]


def main(pipe: Connection, probe: Probe) -> None:
    """Ask until anything is said on the pipe, then tell."""
    os.sched_setaffinity(0, probe.cores)
    took_ms: list[float] = []
    with contextlib.closing(Talk(*probe.address, probe.ca)) as talk:
        due_s = time.monotonic()
        while not pipe.poll(max(0.0, due_s - time.monotonic())):
            talk.call("GET", probe.path, token=probe.token)
            # From when it was due: a question that had to wait for the one before has waited, too.
            took_ms.append((time.monotonic() - due_s) * 1000)
            due_s += _EVERY_S
    pipe.recv()
    pipe.send(Answers(took_ms))
