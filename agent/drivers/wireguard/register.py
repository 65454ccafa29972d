"""Whose the peers of an interface are, in a file, so that the next agent takes them over.

What always holds: no key but public ones and no client's address is in it; lines are added before a peer is
served, the last one of a peer counts, and one that was cut short is left out; a disk that is full stops
nothing, and what is missing is written with the next change.
"""

import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from agent.core.counting import Count, Meter
from agent.drivers import base
from agent.drivers.wireguard import guard
from agent.drivers.wireguard.books import Books, Entry
from agent.drivers.wireguard.checks import Wanted
from agent.drivers.wireguard.peers import Backend, Seen
from shared import logs
from shared.endpoints import Peer, Rate
from shared.messages import Account, Endpoint
from shared.names import EndpointId, UserId

LOGGER = logging.getLogger(__name__)

SUFFIX = guard.REGISTER_SUFFIX
#: A file that has grown by as much is written anew.
_SLACK_BYTES = 4 << 20


class Run(msgspec.Struct, frozen=True, kw_only=True, tag="run", tag_field="is"):
    """The first line: which interface this is of. `endpoint` has no private key.

    `pid` and `started` are wireguard-go's, `index` is the interface's number in the kernel.
    """

    version: int = 1
    backend: Backend
    name: str
    generation: str
    endpoint: Endpoint
    pid: int = 0
    started: int = 0
    index: int = 0


class _Peer(msgspec.Struct, frozen=True, array_like=True, tag="p"):
    key: str
    user: UserId
    addresses: tuple[str, ...]
    up_kbps: int | None
    down_kbps: int | None
    up: int
    down: int
    still_up: int | None
    still_down: int | None


class _Gone(msgspec.Struct, frozen=True, array_like=True, tag="g"):
    key: str


class _Retired(msgspec.Struct, frozen=True, array_like=True, tag="r"):
    user: UserId
    up: int
    down: int


_Line = _Peer | _Gone | _Retired
_ENCODER = msgspec.json.Encoder()
_LINES = msgspec.json.Decoder(_Line)
_RUNS = msgspec.json.Decoder(Run)


class Register:
    """The file of one interface."""

    def __init__(self, path: Path, run: Run) -> None:
        self.run = run
        self._path = path
        self._added = 0
        self._behind = True

    def begin(self, books: Books) -> None:
        """Write everything down. Raises DriverError: an interface that nobody could find must not be made."""
        try:
            self._rewrite(books)
        except OSError as error:
            raise base.DriverError(f"{self._path} cannot be written: {error.strerror}") from error
        self._behind = False

    def save(self, books: Books) -> None:
        """Write down what has changed."""
        if not books.unsaved and not self._behind:
            return
        try:
            if self._behind or self._added > _SLACK_BYTES:
                self._rewrite(books)
            else:
                self._add(_lines(books, books.unsaved))
            self._behind = False
        except OSError as error:
            if not self._behind:
                logs.event(LOGGER, logging.ERROR, "register_not_written", reason=error.strerror)
            self._behind = True
        books.unsaved.clear()

    def remove(self) -> None:
        """The interface is gone."""
        self._path.unlink(missing_ok=True)

    def _rewrite(self, books: Books) -> None:
        new = self._path.with_suffix(".new")
        everything: set[str | Meter] = {*books.entries, *books.retired}
        with _opened(new, os.O_TRUNC) as file:
            file.write(_ENCODER.encode(self.run) + b"\n")
            file.writelines(_lines(books, everything))
        new.replace(self._path)
        self._added = 0

    def _add(self, lines: Iterable[bytes]) -> None:
        with _opened(self._path, os.O_APPEND) as file:
            self._added += file.write(b"".join(lines))


def found(run_dir: Path) -> list[Path]:
    """The registers that are there."""
    return sorted(run_dir.glob(f"*{SUFFIX}")) if run_dir.is_dir() else []


def run_of(path: Path) -> Run | None:
    """What a register is of; None when it cannot be read."""
    try:
        with path.open("rb") as file:
            run = _RUNS.decode(file.readline())
    except (OSError, msgspec.MsgspecError):
        return None
    return run if run.version == 1 else None


def restore(path: Path, endpoint: EndpointId, peers: dict[str, Seen], now_s: float) -> Books:
    """The books of an interface that shows these peers: as far as they are in the register."""
    known: dict[str, _Peer] = {}
    books = Books()
    for line in _read(path):
        if isinstance(line, _Peer):
            known[line.key] = line
        elif isinstance(line, _Gone):
            known.pop(line.key, None)
        else:
            books.recall(Meter(line.user, endpoint), Count(line.up, line.down))
    for key, line in known.items():
        if key in peers:
            books.enter(_entry(line, endpoint, peers[key], now_s))
    books.unsaved.clear()
    return books


def _entry(line: _Peer, endpoint: EndpointId, seen: Seen, now_s: float) -> Entry:
    peer = Peer(public_key=line.key, preshared_key=seen.preshared, addresses=line.addresses)
    limited = line.up_kbps is not None or line.down_kbps is not None
    rate = Rate(up_kbps=line.up_kbps, down_kbps=line.down_kbps) if limited else None
    entry = Entry(
        Wanted(
            Meter(line.user, endpoint), line.key, seen.preshared, line.addresses, line.up_kbps, line.down_kbps
        ),
        Account(user=line.user, endpoint=endpoint, uuid="", peer=peer, rate=rate),
        blocked=not seen.allowed,
        blocked_s=now_s,
        up=line.up,
        down=line.down,
        still_up=line.still_up,
        still_down=line.still_down,
    )
    entry.move(seen)
    if not entry.blocked:
        entry.resume()
    return entry


def _lines(books: Books, changed: Iterable[str | Meter]) -> Iterator[bytes]:
    for one in changed:
        if isinstance(one, Meter):
            retired = books.retired[one]
            line: _Line = _Retired(one.user, retired.up, retired.down)
        elif one in books.entries:
            line = _line(books.entries[one])
        else:
            line = _Gone(one)
        yield _ENCODER.encode(line) + b"\n"


def _line(entry: Entry) -> _Peer:
    wanted = entry.wanted
    return _Peer(
        wanted.key,
        wanted.meter.user,
        wanted.addresses,
        wanted.up_kbps,
        wanted.down_kbps,
        entry.up,
        entry.down,
        entry.still_up,
        entry.still_down,
    )


def _read(path: Path) -> Iterator[_Line]:
    with path.open("rb") as file:
        file.readline()
        for text in file:
            try:
                yield _LINES.decode(text)
            except msgspec.MsgspecError:
                continue  # cut short when an agent was killed: the peer was not served yet


def _opened(path: Path, flags: int) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | flags, 0o600), "wb")
