"""The collector's whole program: puts the parts together and serves until it is told to stop.

What always holds: a stop ends waiting polls at once, answers what is under way and closes the database; the
exit status is 0.
"""

import asyncio
import contextlib
import gc
import logging
import secrets
import signal
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import uvicorn
import uvloop

from collector import certificates, data_dir, journal
from collector.app import restarts
from collector.domain.phases import Watch
from collector.domain.refusals import Refused
from collector.domain.wireguard import Terms
from collector.fronts.rest import application, openapi, parts, table
from collector.fronts.rest.callers import Callers
from collector.fronts.rest.throttle import Throttle
from collector.fronts.rest.transactions import Transactions
from collector.fronts.rest.turns import Turns
from collector.hub import Hub
from collector.receivers import Receivers
from collector.sessions import TICK_S, Sessions
from collector.settings import Settings
from collector.store.database import Database
from collector.store.engines.engine import Unusable
from collector.tasks import clock, history, managers
from collector.tracker import Tracker
from shared import logs
from shared.names import ManagerId

LOGGER = logging.getLogger(__name__)

API_VERSION = "1.0"
_TLS_DIR = "tls"
_CA_FILE = "ca.pem"
_WATCH_EVERY_S = 0.3
_CLOCK_EVERY_S = 1.0
_MANAGERS_EVERY_S = 5.0
_HISTORY_EVERY_S = 300.0
_RENEW_EVERY_S = 24 * 3600.0
_KEEP_ALIVE_S = 75
_GRACE_S = 1
_BACKLOG = 2048
#: A report makes thousands of objects that no cycle holds: looking for cycles after every 700, as Python does
#: by itself, took a fifth of the CPU under load.
_COLLECT_AFTER = (50_000, 20, 50)
#: Passwords checked at once: 19 MiB and a core each.
_HASHING = 2
#: Reports booked at once: enough to share commits, few enough to be answered soon. An agent gives a report up
#: after 15 s; one that could not be answered by then is refused while it is still there to hear it.
_BOOKING = 16
_REPORT_WAITS_S = 8.0
#: Questions about the past at once: one reader at least is left for everything else.
_LOOKING_BACK = 1


class StartError(Exception):
    """The collector cannot start; the text says why."""


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises StartError, DataDirError or CertificateError."""
    data_dir.require_initialised(settings.data_dir)
    logs.configure(settings.log_level)
    hush()
    with data_dir.locked(settings.data_dir), _listening(settings) as listener:
        data = open_database(settings, alone=True)
        try:
            data.write_now(restarts.begin, now_ms())
            gc.freeze()
            gc.set_threshold(*_COLLECT_AFTER)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(_serve(settings, data, listener))
        finally:
            data.close()


def hush() -> None:
    """Keep libraries from logging what they handle: peewee's debug lines hold every value of every row."""
    for library in ("uvicorn", "asyncio", "peewee"):
        logging.getLogger(library).setLevel(logging.WARNING)


def open_database(settings: Settings, *, new: bool = False, alone: bool = False) -> Database:
    """Open the database; only `init` may find none there and make a `new` one. Raises StartError.

    An empty database knows no node: one made in place of a lost one would turn every node away for good.
    `alone` is for whoever must be the only one that serves from it.
    """
    try:
        return Database.open(settings.data_dir, settings.database, new=new, alone=alone)
    except Unusable as unusable:
        raise StartError(str(unusable)) from unusable
    except Exception as error:
        raise StartError(f"{settings.data_dir}: the database cannot be opened: {error}") from error


def joining(settings: Settings) -> parts.Joining:
    """What new nodes need to know. Raises CertificateError."""
    known = settings.data_dir / _CA_FILE
    if settings.own_ca and known.exists() and not certificates.has_authority(_tls_dir(settings)):
        raise certificates.CertificateError(
            f"{_tls_dir(settings)} has lost the CA that nodes trust: restore it from a backup; or remove"
            f" {known} to have a new one made, and enrol every node again"
        )
    authority = certificates.authority(_tls_dir(settings), now_ms()) if settings.own_ca else None
    if authority is not None:
        certificates.publish(authority, settings.data_dir / _CA_FILE)
    return parts.Joining(
        url=settings.url,
        ca_pem=authority.pem if authority else None,
        ca_hash=authority.pin if authority else None,
        ttl_s=settings.enrol_ttl_s,
    )


def sessions(data: Transactions, hub: Hub, settings: Settings) -> Sessions:
    """Who is connected: nobody yet, and nobody has a penalty."""
    tracker = Tracker(window_s=settings.session_window_s, penalty_s=settings.penalty_s, first_number=now_ms())
    return Sessions(data, hub, tracker, now_ms=now_ms)


def assemble(
    data: Transactions,
    hub: Hub,
    key: bytes,
    join: parts.Joining,
    zone: str,
    present: Sessions,
    tunnels: parts.Tunnels = parts.TUNNELS,
) -> parts.Parts:
    """The parts that handlers work with."""
    return parts.Parts(
        data=data,
        hub=hub,
        sessions=present,
        receivers=Receivers(),
        callers=Callers(data, key),
        logins=Throttle(),
        hashing=asyncio.Semaphore(_HASHING),
        reports=Turns(_BOOKING, _REPORT_WAITS_S),
        looking_back=asyncio.Semaphore(_LOOKING_BACK),
        joining=join,
        zone=zone,
        tunnels=tunnels,
        document=document(),
        now_ms=now_ms,
    )


def document() -> bytes:
    """The OpenAPI document of what is served."""
    return openapi.document(table.ROUTES, API_VERSION)


def now_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


class _Server(uvicorn.Server):
    """Leaves signals to us: uvicorn raises them again after its shutdown, which would look like a crash."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _serve(settings: Settings, data: Database, listener: socket.socket) -> None:
    hub = Hub()
    key = data_dir.read_key(settings.data_dir)
    present = sessions(data, hub, settings)
    terms = Terms(secrets.token_bytes, settings.address_reuse_s * 1000)
    tunnels = parts.Tunnels(terms=terms, dns=settings.wireguard_dns)
    assembled = assemble(data, hub, key, joining(settings), settings.zone, present, tunnels)
    config = _config(settings, assembled)
    server = _Server(config)

    def stop() -> None:
        server.should_exit = True
        hub.close()
        assembled.receivers.close()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    logs.event(LOGGER, logging.INFO, "serving", url=settings.url, listen=f"{settings.host}:{settings.port}")
    async with asyncio.TaskGroup() as group:
        loops = [
            *(_watch(data, hub), _clock(data, hub), _managers(data, hub, present), _presence(present)),
            *(_history(data, settings.history_months), _renew(settings, config)),
            *journal.loops(data, settings, assembled.receivers, now_ms),
        ]
        background = [group.create_task(loop) for loop in loops]
        await server.serve(sockets=[listener])
        for task in background:
            task.cancel()
    logs.event(LOGGER, logging.INFO, "stopped")


def _config(settings: Settings, assembled: parts.Parts) -> uvicorn.Config:
    cert_file, key_file = _chain(settings)
    return uvicorn.Config(
        application.application(assembled, table.ROUTES),
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_GRACE_S,
        ssl_certfile=cert_file,
        ssl_keyfile=key_file,
    )


def _chain(settings: Settings) -> tuple[Path | None, Path | None]:
    if settings.behind_proxy:
        return None, None
    if settings.certificate is not None:
        _require_pair(settings.certificate.cert_file, settings.certificate.key_file)
        return settings.certificate.cert_file, settings.certificate.key_file
    path = certificates.server_file(_tls_dir(settings), settings.names, now_ms())
    return path, path


def _require_pair(cert_file: Path, key_file: Path) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert_file, key_file)
    except (OSError, ssl.SSLError) as error:
        raise StartError(f"{cert_file} and {key_file} are no usable certificate and key: {error}") from error


async def _watch(data: Database, hub: Hub) -> None:
    # The command line commits in a process of its own and cannot wake anybody here.
    while True:
        try:
            if await data.changed_elsewhere():
                hub.wake_all()
        except Refused:
            LOGGER.debug("watch_refused")  # commits meanwhile are noticed when the database is back
        except Exception:
            LOGGER.exception("watch_failed")
            hub.wake_all()
        await asyncio.sleep(_WATCH_EVERY_S)


async def _clock(data: Database, hub: Hub) -> None:
    while True:
        try:
            await clock.run(data, hub.wake, now_ms, hub.managers.wake)
        except Refused as refused:
            logs.event(LOGGER, logging.WARNING, "clock_refused", why=refused.detail)
        except Exception:
            LOGGER.exception("clock_failed")
        await asyncio.sleep(_CLOCK_EVERY_S)


async def _managers(data: Database, hub: Hub, present: Sessions) -> None:
    watches: Mapping[ManagerId, Watch] = {}
    while True:
        try:
            watches = await managers.run(data, hub.wake, present.live, watches, now_ms)
        except Refused as refused:
            logs.event(LOGGER, logging.WARNING, "managers_refused", why=refused.detail)
        except Exception:
            LOGGER.exception("managers_failed")
        await hub.managers.wait(_MANAGERS_EVERY_S)


async def _presence(present: Sessions) -> None:
    while True:
        try:
            await present.tick()
        except Refused as refused:
            logs.event(LOGGER, logging.WARNING, "presence_refused", why=refused.detail)
        except Exception:
            LOGGER.exception("presence_failed")
        await asyncio.sleep(TICK_S)


async def _history(data: Database, months: int) -> None:
    while True:
        try:
            await history.run(data, months, now_ms)
        except Refused as refused:
            logs.event(LOGGER, logging.WARNING, "history_refused", why=refused.detail)
        except Exception:
            LOGGER.exception("history_failed")
        await asyncio.sleep(_HISTORY_EVERY_S)


async def _renew(settings: Settings, config: uvicorn.Config) -> None:
    # New connections use what was loaded last, so a certificate is renewed without a restart.
    while True:
        await asyncio.sleep(_RENEW_EVERY_S)
        try:
            cert_file, key_file = _chain(settings)
            if config.ssl and cert_file:
                config.ssl.load_cert_chain(cert_file, key_file)
        except Exception:
            LOGGER.exception("renewal_failed")


@contextlib.contextmanager
def _listening(settings: Settings) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    address = (settings.host, settings.port)
    try:
        listener = socket.create_server(
            address, family=family, backlog=_BACKLOG, dualstack_ipv6=settings.host == "::"
        )
    except OSError as error:
        raise StartError(f"cannot listen on {settings.host}:{settings.port}: {error.strerror}") from error
    with listener:
        yield listener


def _tls_dir(settings: Settings) -> Path:
    return settings.data_dir / _TLS_DIR
