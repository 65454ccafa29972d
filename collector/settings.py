"""The collector's settings, from `TIDEGATE_COLLECTOR_…` (row H10), as one frozen value."""

import ipaddress
import re
import socket
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from collector.domain import resets
from collector.store import address
from collector.store.address import Address
from shared.environment import Reader

PREFIX = "TIDEGATE_COLLECTOR_"
_LEVELS = ("debug", "info", "warning", "error")
_MAX_PORT = 65535
_MAX_NAME = 253
#: 128 bits in hexadecimal: a shorter secret can be tried out against one signed batch.
_MIN_SECRET = 32
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
#: Resolvers that anybody may ask, of either version; a configuration names those it can reach.
_DNS = ("1.1.1.1", "2606:4700:4700::1111")
_URL = re.compile(r"https?://[A-Za-z0-9._:\[\]-]+(/[A-Za-z0-9._~/-]*)?")
_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")


@dataclass(frozen=True, kw_only=True)
class OwnCertificate:
    """A certificate of the operator's instead of one from our own CA."""

    cert_file: Path
    key_file: Path


@dataclass(frozen=True, kw_only=True)
class Webhook:
    """Where events are posted to, and the secret that signs them."""

    url: str
    secret: str


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything the operator can decide.

    `names` are the host names and addresses by which agents reach the collector; the first is the main one.
    `url` is what enrolment lines carry. `certificate` is None when our own CA issues one, or behind a proxy.
    `zone` is the one that new users get. `history_months` is how many closed months of history are kept, 0
    for all. `database` is None for SQLite in the data directory. An address counts as connected for
    `session_window_s` seconds after it was seen; a penalty lasts `penalty_s`. Events are kept for
    `events_days`, 0 is for ever. An address in a tunnel that was released is nobody's for `address_reuse_s`
    seconds; users' WireGuard configurations name the servers of `wireguard_dns`.
    """

    data_dir: Path
    host: str
    port: int
    names: tuple[str, ...]
    url: str
    certificate: OwnCertificate | None
    behind_proxy: bool
    enrol_ttl_s: int
    zone: str
    session_window_s: float
    penalty_s: float
    history_months: int
    log_level: str
    database: Address | None = None
    events_days: int = 400
    address_reuse_s: int = 86_400
    wireguard_dns: tuple[str, ...] = ()
    webhook: Webhook | None = None

    @property
    def own_ca(self) -> bool:
        """Whether our own CA vouches for the server."""
        return self.certificate is None and not self.behind_proxy


def read(environ: Mapping[str, str]) -> Settings:
    """Read all settings. Raises SettingsError with everything that is wrong."""
    reader = Reader(environ, PREFIX)
    host, port = reader.value("LISTEN", _listen, ("0.0.0.0", 8443))  # noqa: S104 - nodes come from outside
    default_names: tuple[str, ...] = (socket.gethostname(),)
    names = reader.value("NAMES", _names, default_names)
    behind_proxy = reader.flag("BEHIND_PROXY", default=False)
    url = reader.value("URL", _url, "")
    if behind_proxy and not url:
        reader.problem(f"{PREFIX}URL: set it to the proxy's https:// URL, since {PREFIX}BEHIND_PROXY is yes")
    settings = Settings(
        data_dir=reader.path("DATA_DIR", None) or Path("/var/lib/tidegate-collector"),
        host=host,
        port=port,
        names=names,
        url=url or f"https://{_authority(names[0])}:{port}",
        certificate=_certificate(reader, behind_proxy=behind_proxy),
        behind_proxy=behind_proxy,
        enrol_ttl_s=reader.integer("ENROL_TTL_S", 600, low=10, high=86_400),
        history_months=reader.integer("HISTORY_MONTHS", 12, low=0, high=1_200),
        zone=reader.value("ZONE", _zone, "UTC"),
        session_window_s=reader.number("SESSION_WINDOW_S", 30.0, low=1.0, high=3_600.0),
        penalty_s=reader.number("PENALTY_S", 120.0, low=1.0, high=86_400.0),
        log_level=reader.choice("LOG_LEVEL", "info", among=_LEVELS),
        database=_database(reader),
        events_days=reader.integer("EVENTS_DAYS", 400, low=0, high=36_500),
        address_reuse_s=reader.integer("ADDRESS_REUSE_S", 86_400, low=0, high=315_360_000),
        wireguard_dns=reader.value("WIREGUARD_DNS", _addresses, _DNS),
        webhook=_webhook(reader),
    )
    reader.finish()
    return settings


def _database(reader: Reader) -> Address | None:
    url = reader.secret("DATABASE_URL")
    if url is None:
        return None
    try:
        return address.parsed(url.strip())
    except ValueError as wrong:
        reader.problem(f"{PREFIX}DATABASE_URL: {wrong}")
        return None


def _certificate(reader: Reader, *, behind_proxy: bool) -> OwnCertificate | None:
    cert_file = reader.value("TLS_CERT_FILE", _file, None)
    key_file = reader.value("TLS_KEY_FILE", _file, None)
    if (cert_file is None) != (key_file is None):
        reader.problem(f"{PREFIX}TLS_CERT_FILE and {PREFIX}TLS_KEY_FILE: set both or neither")
    if behind_proxy and (cert_file or key_file):
        reader.problem(
            f"{PREFIX}BEHIND_PROXY=yes serves plain HTTP: remove {PREFIX}TLS_CERT_FILE and _KEY_FILE"
        )
    if cert_file is None or key_file is None:
        return None
    return OwnCertificate(cert_file=cert_file, key_file=key_file)


def _webhook(reader: Reader) -> Webhook | None:
    url, secret = reader.value("WEBHOOK_URL", _url, ""), reader.secret("WEBHOOK_SECRET")
    if bool(url) != bool(secret):
        reader.problem(f"{PREFIX}WEBHOOK_URL and {PREFIX}WEBHOOK_SECRET (or _FILE): set both or neither")
    if secret and len(secret) < _MIN_SECRET:
        reader.problem(f"{PREFIX}WEBHOOK_SECRET: use at least {_MIN_SECRET} characters")
    return Webhook(url=url, secret=secret) if url and secret else None


def _file(text: str) -> Path:
    path = Path(text)
    if not path.is_file():
        raise ValueError("there is no such file")
    return path


def _listen(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    try:
        ipaddress.ip_address(host)
        number = int(port)
    except ValueError:
        raise ValueError("must be ADDRESS:PORT, as in 0.0.0.0:8443 or [::]:8443") from None
    if not 1 <= number <= _MAX_PORT:
        raise ValueError(f"the port must be from 1 to {_MAX_PORT}")
    return host, number


def _zone(text: str) -> str:
    if problem := resets.wrong_zone(text):
        raise ValueError(problem)
    return text


def _addresses(text: str) -> tuple[str, ...]:
    named = [one.strip() for one in text.split(",") if one.strip()]
    try:
        found = tuple(str(ipaddress.ip_address(one)) for one in named if "%" not in one)
    except ValueError:
        found = ()
    if len(found) != len(named):
        raise ValueError("must be IP addresses separated by commas, or nothing")
    return found


def _names(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        raise ValueError("must name at least one host or address")
    if wrong := [name for name in names if not _is_host(name)]:
        raise ValueError(f"not a host name or address: {', '.join(wrong)}")
    return names


def _is_host(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return len(name) <= _MAX_NAME and all(_LABEL.fullmatch(label) for label in name.split("."))
    return True


def _authority(name: str) -> str:
    return f"[{name}]" if ":" in name else name


def _url(text: str) -> str:
    parts = urllib.parse.urlsplit(text)
    # The URL is part of a line that people paste into a root shell.
    if not _URL.fullmatch(text) or not parts.hostname or parts.port == 0:
        raise ValueError("must be a URL such as https://collector.example:8443")
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise ValueError("must be https://, since every secret travels to it")
    return text.rstrip("/")
