"""The whole system at work, and a search of everything it wrote and said for its clients' addresses.

Clients come from households with addresses of both versions, download, exceed their limits, are cut and come
back; agent and collector are killed and stopped on the way, the log tells everything it can. What always
holds: the search is proved to find an address that is there before its finding none is believed.
"""

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.kit import clients, fleet, spellings, waiting

HOMES = ("home", "cafe", "work")
_KB = 1_000
_QUOTA_BYTES = 300 * _KB

WISHES = fleet.Wishes(
    collector={
        "TIDEGATE_COLLECTOR_SESSION_WINDOW_S": "2",
        "TIDEGATE_COLLECTOR_PENALTY_S": "2",
        "TIDEGATE_COLLECTOR_LOG_LEVEL": "debug",
    },
    agent={
        "TIDEGATE_AGENT_SESSIONS_S": "0.3",
        "TIDEGATE_AGENT_HEARTBEAT_S": "1",
        "TIDEGATE_AGENT_FULL_COMPARE_S": "5",
        "TIDEGATE_AGENT_LOG_LEVEL": "debug",
    },
    both_versions=True,
    recorded=True,
)


@dataclass(kw_only=True)
class Evidence:
    """What was done and searched; `found` has the spellings of each address by where it was found."""

    rounds: int = 0
    downloads: int = 0
    sightings: int = 0
    penalties: int = 0
    most_sessions: int = 0
    searched_files: set[str] = field(default_factory=set)
    searched_bytes: int = 0
    found: dict[str, list[str]] = field(default_factory=dict)


@contextlib.contextmanager
def opened() -> Iterator[fleet.Fleet]:
    """A fleet whose clients come from three households."""
    with fleet.opened(HOMES, WISHES) as everything:
        yield everything


def soak(
    everything: fleet.Fleet, seconds: float, progress: Callable[[int], None] = lambda _: None
) -> Evidence:
    """Work for so many seconds, at least one round, and search all along and at the end."""
    evidence = Evidence()
    until_s = time.monotonic() + seconds
    rounds = itertools.count(1)
    while evidence.rounds == 0 or time.monotonic() < until_s:
        _round(everything, evidence, next(rounds))
        _search(_files(everything), everything, evidence)
        evidence.rounds += 1
        progress(evidence.rounds)
    _stop(everything)
    _search({**_files(everything), **_said(everything)}, everything, evidence)
    return evidence


def knows(everything: fleet.Fleet, address: str) -> bool:
    """Whether the search finds this address, which is known to be written down and said."""
    contents = [b"".join(_files(everything).values()), *_said(everything).values()]
    return any(spellings.found(content, address) for content in contents)


def addresses(everything: fleet.Fleet) -> list[str]:
    """Those of the clients, of both versions."""
    places = [everything.lab[home] for home in HOMES]
    return [one for place in places for one in (place.address, place.address6) if one]


def _round(everything: fleet.Fleet, evidence: Evidence, number: int) -> None:
    """A user from everywhere, one over his quota, one with too many addresses; then somebody is killed."""
    wide = everything.add_user(f"wide-{number}")
    over = everything.add_user(f"over-{number}", quota_bytes=_QUOTA_BYTES)
    shared = everything.add_user(f"shared-{number}", max_concurrent=1)
    versions = (4, 6) if everything.lab[HOMES[0]].address6 else (4,)
    everything.served(wide)
    running = [
        _begin(everything, evidence, user, place, version)
        for user, places in ((wide, HOMES), (over, HOMES[:2]), (shared, HOMES[:2]))
        for place in places
        for version in versions
    ]
    wanted = len(HOMES) * len(versions)
    waiting.until(lambda: _sessions(everything, wide) == wanted, within_s=30, what=f"{wanted} sessions")
    evidence.most_sessions = max(evidence.most_sessions, wanted)
    waiting.until(lambda: _has_penalty(everything, shared), within_s=30, what="a penalty")
    evidence.penalties += 1
    _disturb(everything, number)
    for download in running:
        download.program.stop()
    for device in [name for name in everything.devices if name.split("-")[1] == str(number)]:
        everything.devices.pop(device).program.stop()
    if everything.record:
        evidence.sightings = everything.record.said.count(b"POST /api/v1/nodes/sessions")


def _begin(
    everything: fleet.Fleet, evidence: Evidence, user: fleet.User, place: str, version: int
) -> clients.Download:
    evidence.downloads += 1
    kind: clients.Kind = "xray" if user.name.startswith("over") else "sing-box"
    return everything.download(
        user, 100_000 * _KB, rate=50 * _KB, place=place, version=version, kind=kind, silence_s=60
    )


def _sessions(everything: fleet.Fleet, user: fleet.User) -> int:
    return int(everything.api.sessions(user.id)["sessions"])


def _has_penalty(everything: fleet.Fleet, user: fleet.User) -> bool:
    return everything.api.sessions(user.id)["penalty"] is not None


def _disturb(everything: fleet.Fleet, number: int) -> None:
    """Kill the agent, or the collector, or nobody, and go on."""
    match number % 3:
        case 1:
            everything.agent.kill()
            everything.agent.start()
        case 2:
            everything.collector.kill()
            everything.collector.start()
            everything.collector_answers()


def _stop(everything: fleet.Fleet) -> None:
    for program in (everything.agent.program, everything.collector.program):
        if program is not None:
            program.stop()


def _search(contents: Mapping[str, bytes], everything: fleet.Fleet, evidence: Evidence) -> None:
    for name, content in contents.items():
        evidence.searched_files.add(Path(name).name)
        evidence.searched_bytes += len(content)
        for address in addresses(everything):
            if spelled := spellings.found(content, address):
                evidence.found[f"{name}: {address}"] = spelled


def _files(everything: fleet.Fleet) -> Mapping[str, bytes]:
    """Everything that agent, collector and Xray keep."""
    found: dict[str, bytes] = {}
    for path in everything.files_of_servers():
        # A write-ahead log may go between the look and the reading.
        with contextlib.suppress(FileNotFoundError):
            found[str(path)] = path.read_bytes()
    return found


def _said(everything: fleet.Fleet) -> Mapping[str, bytes]:
    """Everything that agent and collector said to each other."""
    record = everything.record
    if record is None:
        return {}
    return {
        "what the agent said": bytes(record.said),
        "what the collector answered": bytes(record.answered),
    }
