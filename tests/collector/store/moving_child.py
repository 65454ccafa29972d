"""Moves the history of a database, once for every statement that matters, and is killed just before it.

Run as a program: a directory to copy, one to put the copies into, and the moment. Every copy is left as a
SIGKILL left it; it ends after the first one that was not killed, since its move had no more statements.
"""

import asyncio
import itertools
import os
import shutil
import signal
import sqlite3
import sys
from pathlib import Path

from collector.app import history as app
from collector.store.database import Database
from collector.tasks import history

_BATCH = 4
#: A kill before one of these leaves what a kill before the next statement leaves.
_HARMLESS = ("SELECT", "PRAGMA", "INSERT INTO history")


def main(template: Path, copies: Path, now_ms: int) -> None:
    """Kill one process for every statement."""
    for number in itertools.count(1):
        directory = shutil.copytree(template, copies / f"{number:03d}")
        child = os.fork()
        if not child:
            _move(directory, number, now_ms)
        if os.waitpid(child, 0)[1] == 0:
            return


def _move(directory: Path, last: int, now_ms: int) -> None:
    left = itertools.count(last, -1)
    moving = False

    def trace(statement: str) -> None:
        if moving and not statement.startswith(_HARMLESS) and next(left) == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    connect = sqlite3.connect

    def traced(*names: object, **how: object) -> sqlite3.Connection:
        made: sqlite3.Connection = connect(*names, **how)  # type: ignore[call-overload]  # passed on
        made.set_trace_callback(trace)
        return made

    sqlite3.connect = traced  # type: ignore[assignment]  # this process has no other purpose
    app.BATCH = _BATCH
    data = Database.open(directory)
    moving = True
    asyncio.run(history.run(data, 0, lambda: now_ms))
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
