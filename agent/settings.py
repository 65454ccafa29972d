"""The agent's settings from TIDEGATE_AGENT_… (row H10): one frozen value, every problem reported at once."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from agent.core import versions
from agent.core.periods import Pace
from shared import environment

PREFIX = "TIDEGATE_AGENT_"
STATE_DIR = Path("/var/lib/tidegate-agent")
LOCK_NAME = "agent.lock"

#: "auto" is the kernel's module or else wireguard-go, where either is there.
WIREGUARD = ("auto", "kernel", "userspace", "off")
_LEVELS = ("debug", "info", "warning", "error")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the operator decides. `xray_binary` None is the Xray of the Python package.

    `xray_version` is the only version that may be run; None is any that is good. `geo_city` and `geo_asn` are
    MaxMind files; without them nothing is known of where users are.
    """

    state_dir: Path
    run_dir: Path
    xray_binary: Path | None
    xray_version: versions.Version | None
    geo_city: Path | None
    geo_asn: Path | None
    allow_private_targets: bool
    splice: bool
    wireguard: str
    fence_s: float
    log_level: str
    pace: Pace

    @property
    def lock_file(self) -> Path:
        """Held as long as an agent lives; some time after it is free Xray serves nobody any more."""
        return self.state_dir / LOCK_NAME


def load(environ: Mapping[str, str]) -> Settings:
    """Read all settings. Raises environment.SettingsError with everything that is wrong."""
    reader = environment.Reader(environ, PREFIX)
    state_dir = reader.path("STATE_DIR", STATE_DIR) or STATE_DIR
    settings = Settings(
        state_dir=state_dir,
        run_dir=reader.path("RUN_DIR", None) or state_dir / "run",
        xray_binary=reader.path("XRAY_BINARY", None),
        xray_version=reader.value("XRAY_VERSION", versions.bare, None),
        geo_city=reader.path("GEO_CITY", None),
        geo_asn=reader.path("GEO_ASN", None),
        allow_private_targets=reader.flag("ALLOW_PRIVATE_TARGETS", default=False),
        splice=reader.flag("SPLICE", default=False),
        wireguard=reader.choice("WIREGUARD", "auto", among=WIREGUARD),
        fence_s=reader.number("FENCE_S", 60.0, low=1.0, high=86_400.0),
        log_level=reader.choice("LOG_LEVEL", "info", among=_LEVELS),
        pace=_pace(reader),
    )
    _check(reader, settings)
    reader.finish()
    return settings


def _pace(reader: environment.Reader) -> Pace:
    default = Pace()
    return Pace(
        poll_s=reader.number("POLL_S", default.poll_s, low=0.02, high=60.0),
        report_min_s=reader.number("REPORT_MIN_S", default.report_min_s, low=0.0, high=60.0),
        report_s=reader.number("REPORT_S", default.report_s, low=0.1, high=3600.0),
        heartbeat_s=reader.number("HEARTBEAT_S", default.heartbeat_s, low=0.1, high=3600.0),
        full_compare_s=reader.number("FULL_COMPARE_S", default.full_compare_s, low=1.0, high=86_400.0),
        sessions_s=reader.number("SESSIONS_S", default.sessions_s, low=0.1, high=60.0),
    )


def _check(reader: environment.Reader, settings: Settings) -> None:
    paths = {
        "STATE_DIR": settings.state_dir,
        "RUN_DIR": settings.run_dir,
        "GEO_CITY": settings.geo_city,
        "GEO_ASN": settings.geo_asn,
    }
    for name, path in paths.items():
        if path is not None and not path.is_absolute():
            reader.problem(f"{PREFIX}{name}={str(path)!r}: must be an absolute path")
    binary = settings.xray_binary
    if binary is not None and not binary.is_file():
        reader.problem(f"{PREFIX}XRAY_BINARY={str(binary)!r}: there is no such file")
    pace = settings.pace
    if pace.report_min_s > pace.report_s:
        reader.problem(f"{PREFIX}REPORT_MIN_S must not be longer than {PREFIX}REPORT_S")
