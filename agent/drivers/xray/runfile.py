"""What the host leaves in its run directory so that another agent finds it, and the names in there.

What always holds: the file is replaced as a whole; it holds no credential and no client's address; a process
is known by its pid together with its start time, so a pid that was given out again is never taken for it.
Standard library only, since the host writes it.
"""

import json
import os
from pathlib import Path
from typing import NamedTuple

from agent.drivers import pids

RUN_FILE = "xray.json"
API_SOCKET = "api.sock"
WEBHOOK_SOCKET = "webhook.sock"
CONTROL_SOCKET = "control.sock"
HOST_LOCK = "host.lock"

_FORMAT = 2
#: In the first format a place had neither kind nor networks nor fingerprint.
_READABLE = (1, _FORMAT)


class Place(NamedTuple):
    """One endpoint as it was given to Xray.

    `kind` is that of its accounts, `networks` on what it listens ("tcp", "udp" or "tcp,udp"), `fingerprint`
    a digest of how it is configured, keys and all. A host knows no fingerprint: it is told in public. `way`
    is what else matters to a cut, in the letters of `carriers`.
    """

    endpoint: int
    protocol: str
    port: int
    listen: str
    kind: str = ""
    networks: str = "tcp"
    fingerprint: str = ""
    way: str = ""


class Spec(NamedTuple):
    """What the host is told on its command line: nothing secret, anyone may read a command line."""

    run_dir: str
    lock_file: str
    fence_s: float
    binary: str | None
    digest: str
    places: tuple[Place, ...]
    core: str = "Xray"


class Run(NamedTuple):
    """A host that was started: who it is and what its Xray was given."""

    pid: int
    started: int
    generation: str
    digest: str
    places: tuple[Place, ...]
    core: str = "Xray"


def encode_spec(spec: Spec) -> str:
    """The spec as one argument."""
    return json.dumps(spec)


def decode_spec(text: str) -> Spec:
    """The spec of an argument; raises ValueError or TypeError when it is none."""
    run_dir, lock_file, fence_s, binary, digest, places, core = json.loads(text)
    return Spec(run_dir, lock_file, fence_s, binary, digest, tuple(Place(*place) for place in places), core)


def this_run(spec: Spec) -> Run:
    """The run that this process is."""
    pid = os.getpid()
    started = pids.start_time(pid) or 0
    return Run(pid, started, pids.generation(pid, started), spec.digest, spec.places, spec.core)


def write(run_dir: Path, run: Run) -> None:
    """Replace the run file."""
    new = run_dir / (RUN_FILE + ".new")
    new.write_text(json.dumps([_FORMAT, *run]), encoding="utf-8")
    new.replace(run_dir / RUN_FILE)


def read(run_dir: Path) -> Run | None:
    """The run that was written last; None when there is none or its file cannot be understood."""
    try:
        written, *run = json.loads((run_dir / RUN_FILE).read_bytes())
        if written not in _READABLE:
            return None
        pid, started, generation, digest, places, *core = run  # the first agents named no core
        given = tuple(Place(*place) for place in places)
        return Run(int(pid), int(started), str(generation), str(digest), given, *map(str, core))
    except (OSError, ValueError, TypeError):
        return None


def current(spec: Spec) -> tuple[Place, ...]:
    """The endpoints that Xray has now, for its host: the agent keeps them in the run file."""
    run = read(Path(spec.run_dir))
    return run.places if run is not None and run.pid == os.getpid() else spec.places


def ports(places: tuple[Place, ...]) -> list[int]:
    """On which of them connections of TCP may be."""
    return [place.port for place in places if "tcp" in place.networks.split(",")]


def alive(run: Run) -> bool:
    """Whether exactly this process still runs."""
    return pids.start_time(run.pid) == run.started
