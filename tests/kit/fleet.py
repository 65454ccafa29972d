"""A whole fleet of one node: collector, agent with its Xray, a source of bytes, and users with clients.

What always holds: collector and agent are separate processes started as an operator starts them, from
their command lines and environments; nothing of theirs is imported here. Leaving the fleet ends them, and
the core that an agent leaves running on purpose.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.kit import api, clients, lab, programs, servers, source, waiting, wire

_START_S = 20.0
_SETTLE_S = 10.0
_LEFT_BEHIND = "tidegate-kit-"

#: Where clients live when nobody says otherwise: two households, each with one address.
HOMES = ("home", "cafe")


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """How a fleet shall differ from the usual.

    More settings; an endpoint for IP of both versions; what agent and collector say to each other recorded;
    WireGuard on the node (tests.kit.tunnels).
    """

    collector: Mapping[str, str] = field(default_factory=dict)
    agent: Mapping[str, str] = field(default_factory=dict)
    both_versions: bool = False
    recorded: bool = False
    tunnels: bool = False


@dataclass(frozen=True)
class User:
    """A user of the collector."""

    id: int
    name: str
    uuid: str


@dataclass(kw_only=True)
class Fleet:
    """Everything together. `endpoint` and `port` are the way into the one node."""

    lab: lab.Lab
    running: programs.Programs
    directory: Path
    collector: servers.Collector
    agent: servers.Agent
    api: api.Api
    source: str
    node: int
    endpoint: int
    port: int
    record: wire.Wire | None = None
    devices: dict[str, clients.Client] = field(default_factory=dict)
    downloads: dict[int, list[clients.Download]] = field(default_factory=dict)

    def add_user(
        self,
        name: str,
        *,
        quota_bytes: int | None = None,
        uuid: str | None = None,
        max_concurrent: int | None = None,
    ) -> User:
        """Create a user who may use the endpoint; the collector makes his credential unless it is given."""
        given = {"quota_bytes": quota_bytes, "uuid": uuid, "max_concurrent": max_concurrent}
        wanted = {field: value for field, value in given.items() if value is not None}
        made = self.api.create_user(name, endpoints=[self.endpoint], **wanted)
        return User(made["id"], name, made["uuid"])

    def way(self, credential: str, version: int = 4) -> clients.Way:
        """What a client with this credential needs to know to come by that version of IP."""
        node = self.lab["node"]
        server = node.address if version == 4 else node.address6 or ""
        return clients.Way(server=server, port=self.port, uuid=credential)

    def client(
        self, user: User, kind: clients.Kind = "sing-box", place: str = HOMES[0], version: int = 4
    ) -> clients.Client:
        """This user's client of that kind at that place, started when it is first asked for."""
        name = f"{user.name}-{kind}-{place}-v{version}"
        if name not in self.devices:
            self.devices[name] = clients.start(
                self.running, name, kind, place=self.lab[place], way=self.way(user.uuid, version)
            )
        return self.devices[name]

    def download(
        self,
        user: User,
        size_bytes: int,
        *,
        rate: int | None = None,
        mark: int | None = None,
        kind: clients.Kind = "sing-box",
        place: str = HOMES[0],
        version: int = 4,
        silence_s: float = 10.0,
    ) -> clients.Download:
        """Begin a download of that many bytes, at most `rate` a second; it ends after so much silence."""
        path = f"/bytes/{size_bytes}" + (f"?rate={rate}" if rate else "")
        client = self.client(user, kind, place, version)
        download = client.download(self.running, self.source, path, mark=mark, silence_s=silence_s)
        self.downloads.setdefault(user.id, []).append(download)
        return download

    def served(self, user: User, *, kind: clients.Kind = "sing-box", within_s: float = 10.0) -> None:
        """Wait until a download of this user goes through."""

        def gets_a_byte() -> bool:
            if self.agent.program is None or not self.agent.program.running:
                raise RuntimeError("the agent has ended")
            return self.download(user, 1, kind=kind).result().how == "complete"

        waiting.until(gets_a_byte, within_s=within_s, what=f"{user.name} to be served")

    def refused(self, user: User, *, within_s: float = 10.0) -> None:
        """Wait until a new connection of this user is refused."""
        waiting.until(
            lambda: self.download(user, 1).result().received == 0,
            within_s=within_s,
            what=f"{user.name} to be refused",
        )

    def delivered(self, user: User) -> int:
        """Bytes both ways of all this user's downloads, which must have ended."""
        results = [download.result() for download in self.downloads.get(user.id, [])]
        # A request that nothing answered never left the client's side of the tunnel.
        return sum(result.total for result in results if result.received)

    def billed(self, user: User) -> int:
        """Bytes the collector has charged."""
        return int(self.api.usage(user.id)["total"])

    def settled(self, user: User, at_least: int, *, within_s: float = _SETTLE_S) -> dict[str, Any]:
        """Wait until that many bytes are billed, and return the usage: it may show more, never hide it."""
        return waiting.until(
            lambda: usage if (usage := self.api.usage(user.id))["total"] >= at_least else None,
            within_s=within_s,
            what=f"{at_least} bytes of {user.name} to be billed (at {self.billed(user)})",
        )

    def counted(self, user: User) -> int:
        """Bytes that the core itself has counted since it was started."""
        own = f"user>>>u{user.id}-e"
        return sum(value for name, value in self.agent.counters().items() if name.startswith(own))

    def agent_like(self, name: str) -> servers.Agent:
        """Another agent at the node's place, with a state of its own; not enrolled, not started."""
        directory = self.directory / name
        directory.mkdir()
        return servers.Agent(running=self.running, place=self.lab["node"], directory=directory, name=name)

    def files_of_servers(self) -> list[Path]:
        """Every file that collector and agent wrote: data, state and logs."""
        logs = [path for path in (self.directory / "logs").iterdir() if path.stem in {"collector", "agent"}]
        kept = [*self.collector.data.rglob("*"), *self.agent.directory.rglob("*")]
        return [path for path in (*logs, *kept) if path.is_file()]

    def collector_answers(self) -> None:
        """Wait until the collector answers."""
        _wait_for(self.collector, self.api)


@contextlib.contextmanager
def opened(homes: Sequence[str] = HOMES, wishes: Wishes = Wishes()) -> Iterator[Fleet]:
    """A fleet with one enrolled node that serves, in a lab of its own."""
    end_leftovers()
    with (
        lab.opened(["node", *homes]) as places,
        _directory() as directory,
        contextlib.ExitStack() as afterwards,
        programs.opened(directory / "logs") as running,
    ):
        try:
            yield _built(places, running, directory, afterwards, wishes)
        except BaseException as error:
            error.add_note(running.tails())
            raise


def end_leftovers() -> None:
    """End cores and remove directories of processes of ours that were killed before they could."""
    for left in Path(tempfile.gettempdir()).glob(f"{_LEFT_BEHIND}*-*"):
        pid = left.name.removeprefix(_LEFT_BEHIND).partition("-")[0]
        if pid.isdigit() and not Path("/proc", pid).exists():
            _end_cores(left)
            shutil.rmtree(left, ignore_errors=True)


def _built(
    places: lab.Lab,
    running: programs.Programs,
    directory: Path,
    afterwards: contextlib.ExitStack,
    wishes: Wishes,
) -> Fleet:
    collector = servers.Collector(
        running=running,
        place=places["hub"],
        data=directory / "collector",
        port=places["hub"].free_port(),
        more=wishes.collector,
    )
    agent = servers.Agent(
        running=running,
        place=places["node"],
        directory=directory / "agent",
        more=wishes.agent,
        tunnels=wishes.tunnels,
    )
    afterwards.callback(agent.end_core)
    first = collector.cli("init")
    collector.start()
    speaker = _speaker(collector, first)
    _wait_for(collector, speaker)
    record = afterwards.enter_context(wire.tapped(collector, places["node"])) if wishes.recorded else None
    node = servers.join(collector, agent, "node-1", record.url if record else None)
    port = places["node"].free_port()
    everywhere = "::" if wishes.both_versions else "0.0.0.0"
    listen = everywhere if places["node"].namespace else places["node"].address
    endpoint = speaker.create_endpoint(node, "main", port, listen)["id"]
    agent.start()
    return Fleet(
        lab=places,
        running=running,
        directory=directory,
        collector=collector,
        agent=agent,
        api=speaker,
        source=afterwards.enter_context(_source(places["node"])),
        node=node,
        endpoint=endpoint,
        port=port,
        record=record,
    )


def _speaker(collector: servers.Collector, first: Mapping[str, Any]) -> api.Api:
    credentials = (str(first["username"]), str(first["password"]))
    return api.Api(collector.url, collector.data / "ca.pem", collector.place, credentials)


def _wait_for(collector: servers.Collector, speaker: api.Api) -> None:
    def answers() -> bool:
        if collector.program is None or not collector.program.running:
            raise RuntimeError("the collector has ended")
        return speaker.answers()

    waiting.until(answers, within_s=_START_S, what="the collector to answer")


@contextlib.contextmanager
def _source(place: lab.Place) -> Iterator[str]:
    """Bytes on the node's own loopback: whoever gets them came through the tunnel."""
    with place.inside():
        serving = source.Source()
    with serving:
        yield f"127.0.0.1:{serving.port}"


@contextlib.contextmanager
def _directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix=f"{_LEFT_BEHIND}{os.getpid()}-") as name:
        directory = Path(name)
        for part in ("logs", "agent"):
            (directory / part).mkdir()
        yield directory


def _end_cores(directory: Path) -> None:
    for run_file in directory.glob("*/run/xray.json"):
        pid = servers.pid_in(run_file)
        command = Path("/proc", str(pid), "cmdline")
        if pid is not None and command.exists() and b"xray" in command.read_bytes():
            programs.end(pid)
