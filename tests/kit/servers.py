"""Collector and agent as separate processes, started as an operator starts them.

What always holds: only their command lines, environments, logs and run files are used; nothing of theirs is
imported here.
"""

import contextlib
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.kit import lab, programs

#: wireguard-go and `wg` know one directory for all namespaces of a machine.
_OWN_SOCKETS = 'mkdir -p /var/run/wireguard && mount --bind "$0" /var/run/wireguard && exec "$@"'


@dataclass(kw_only=True)
class Collector:
    """The collector's process, its directory, and how its API is reached."""

    running: programs.Programs
    place: lab.Place
    data: Path
    port: int
    program: programs.Program | None = None
    more: Mapping[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"https://{self.place.address}:{self.port}"

    def env(self) -> Mapping[str, str]:
        """Its settings."""
        return {
            "TIDEGATE_COLLECTOR_DATA_DIR": str(self.data),
            "TIDEGATE_COLLECTOR_LISTEN": f"{self.place.address}:{self.port}",
            "TIDEGATE_COLLECTOR_NAMES": self.place.address,
            **self.more,
        }

    def cli(self, *words: str, env: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Run `tidegate-collector … --json`, perhaps with more settings, and return what it printed."""
        command = programs.python("collector.cli", *words, "--json")
        settings = {**self.env(), **(env or {})}
        return _json_of(programs.run(command, place=self.place, env=settings), "tidegate-collector")

    def start(self) -> programs.Program:
        """Serve; returns at once."""
        command = programs.python("collector.cli", "serve")
        self.program = self.running.start("collector", command, place=self.place, env=self.env())
        return self.program

    def kill(self) -> None:
        """End it as a power cut would."""
        if self.program:
            self.program.kill()


@dataclass(kw_only=True)
class Agent:
    """The agent's process and its directories; with `tunnels` it may serve WireGuard, which needs root."""

    running: programs.Programs
    place: lab.Place
    directory: Path
    name: str = "agent"
    program: programs.Program | None = None
    more: Mapping[str, str] = field(default_factory=dict)
    tunnels: bool = False

    def env(self) -> Mapping[str, str]:
        """Its settings: what the bytes come from is on a private address here."""
        return {
            "TIDEGATE_AGENT_STATE_DIR": str(self.directory / "state"),
            "TIDEGATE_AGENT_RUN_DIR": str(self.directory / "run"),
            "TIDEGATE_AGENT_ALLOW_PRIVATE_TARGETS": "yes",
            **({"TIDEGATE_AGENT_WIREGUARD": "userspace"} if self.tunnels else {}),
            **self.more,
        }

    def enroll(self, command: str) -> programs.Done:
        """Run the line that the collector gave for this node."""
        words = shlex.split(command)[1:]
        return programs.run(programs.python("agent.cli", *words), place=self.place, env=self.env())

    def start(self) -> programs.Program:
        """Run; returns at once."""
        command = self.beside_sockets(programs.python("agent.cli", "run"))
        self.program = self.running.start(self.name, command, place=self.place, env=self.env())
        return self.program

    def beside_sockets(self, command: Sequence[str]) -> list[str]:
        """The command where wireguard-go's sockets are this node's alone, as they would be on its machine."""
        if not self.tunnels:
            return list(command)
        sockets = self.directory / "sockets"
        sockets.mkdir(exist_ok=True)
        return ["unshare", "--mount", "sh", "-c", _OWN_SOCKETS, str(sockets), *command]

    def tunnel_counters(self, interface: str) -> dict[str, int]:
        """What `wg` says each peer has sent and received together, by public key; empty without interface."""
        command = self.beside_sockets(["wg", "show", interface, "transfer"])
        rows = [line.split("\t") for line in programs.run(command, place=self.place).out.splitlines()]
        return {key: int(received) + int(sent) for key, received, sent in rows}

    def kill(self) -> None:
        """End it as a power cut would."""
        if self.program:
            self.program.kill()

    def events(self, name: str) -> list[dict[str, Any]]:
        """Lines of one kind from the log of this agent and of those before it in this directory."""
        return self.program.events(name) if self.program else []

    def incidents(self, kind: str) -> list[dict[str, Any]]:
        """Incidents of one kind, from the log."""
        return [line for line in self.events("incident") if line["kind"] == kind]

    def core_pid(self) -> int | None:
        """Process id of the core that serves, from the agent's run file; None when there is none."""
        return pid_in(self.directory / "run" / "xray.json")

    def counters(self) -> dict[str, int]:
        """The core's own user counters, by its names."""
        target = f"unix:{self.directory / 'run' / 'api.sock'}"
        command = programs.python("tests.kit.counters", target)
        return _json_of(programs.run(command, place=self.place), "the counters")

    def end_core(self) -> None:
        """End the core that outlived its agent."""
        if (pid := self.core_pid()) is not None and programs.is_alive(pid):
            programs.end(pid)


def pid_in(run_file: Path) -> int | None:
    """The process id in an agent's run file, a list whose second value it is; None when there is none."""
    with contextlib.suppress(OSError, ValueError, LookupError):
        return int(json.loads(run_file.read_bytes())[1])
    return None


def join(collector: Collector, agent: Agent, name: str, through: str | None = None) -> int:
    """Enrol a new node as an operator does: one command there, one line here; returns the node's id.

    `through` is another address by which the agent shall reach the collector.
    """
    for _ in range(5):
        line = collector.cli("node", "enroll", name)
        done = agent.enroll(
            f"tidegate-agent enroll {through} {line['token']}" if through else line["command"]
        )
        # A busy machine may keep the collector from answering in time; whoever enrols a node tries again.
        if "did not answer in time" not in (done.err or done.out):
            break
    if done.status:
        raise RuntimeError(f"tidegate-agent enroll ended with {done.status}: {done.err or done.out}")
    return int(line["node"])


def _json_of(done: programs.Done, program: str) -> dict[str, Any]:
    if done.status:
        raise RuntimeError(f"{program} ended with {done.status}: {done.err or done.out}")
    answer = json.loads(done.out)
    if not isinstance(answer, dict):
        raise TypeError(f"{program} printed {done.out!r}, not an object")
    return answer
