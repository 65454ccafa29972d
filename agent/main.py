"""Puts the agent together and runs it until it is told to stop.

What always holds: an orderly stop ends every connection, books the last bytes, ends the core and reports once
more, all within seconds; while the ledger cannot be written the core is left for the next agent to take over.
A kill leaves the core running; the next agent takes it over.
"""

import asyncio
import logging
import signal
from typing import cast

from agent import geo, identity, ledger, lock, release
from agent.drivers.base import Driver, DriverError
from agent.drivers.wireguard import options as wireguard_options
from agent.drivers.wireguard.driver import WireGuardDriver
from agent.drivers.xray.driver import XrayDriver
from agent.drivers.xray.options import Options
from agent.ledger import Ledger
from agent.link import Link, LinkProblem
from agent.loops import serving, sessions
from agent.loops.certificates import CertificatesLoop
from agent.loops.clock import ClockLoop
from agent.loops.heal import HealLoop
from agent.loops.heartbeat import HeartbeatLoop
from agent.loops.intruders import IntrudersLoop
from agent.loops.meter import MeterLoop
from agent.loops.node import Core, Node
from agent.loops.report import ReportLoop
from agent.loops.sync import SyncLoop
from agent.settings import Settings
from shared import logs

LOGGER = logging.getLogger(__name__)

_STOP_S = 8.0
_LAST_REPORT_S = 3.0


def drivers(settings: Settings) -> list[Driver]:
    """The cores of this node. Raises ValueError for settings that cannot work together."""
    return [_xray(settings), *_wireguard(settings)]


def _xray(settings: Settings) -> XrayDriver:
    return XrayDriver(
        Options(
            run_dir=settings.run_dir,
            lock_file=settings.lock_file,
            binary=settings.xray_binary,
            version=settings.xray_version,
            allow_private_targets=settings.allow_private_targets,
            fence_s=settings.fence_s,
            splice=settings.splice,
        )
    )


def _wireguard(settings: Settings) -> list[Driver]:
    off = settings.wireguard == "off"
    chosen = wireguard_options.Options(
        run_dir=settings.run_dir / "wireguard",
        lock_file=settings.lock_file,
        fence_s=settings.fence_s,
        backend="auto" if off else cast("wireguard_options.Choice", settings.wireguard),
    )
    driver = WireGuardDriver(chosen)
    if off:
        # It still takes down, after a last reading, what an earlier agent has left serving.
        driver.protocols = frozenset()
    return [driver]


def run(settings: Settings) -> None:
    """Run one agent until SIGTERM or SIGINT.

    Raises IdentityError, LedgerError, OccupiedError, LinkError, ValueError or OSError when it cannot start.
    """
    with lock.held(settings.lock_file):
        me = identity.load(settings.state_dir)
        book = ledger.open_ledger(settings.state_dir / ledger.FILE_NAME)
        try:
            book.begin_epoch()
            asyncio.run(_connected(settings, me, book))
        finally:
            book.close()


async def live(node: Node, stopping: asyncio.Event, place_of: sessions.PlaceOf = sessions.nowhere) -> None:
    """Serve until told to stop, then stop in order; `place_of` knows where addresses are."""
    report, sync = ReportLoop(node), SyncLoop(node)
    await _boot(node)
    loops = (
        MeterLoop(node).run,
        report.run,
        sync.run,
        sync.run_compare,
        sync.run_retry,
        HeartbeatLoop(node).run,
        *(HealLoop(node, core).run for core in node.cores),
        *(IntrudersLoop(node, core).run for core in node.cores),
        CertificatesLoop(node).run,
        ClockLoop(node).run,
        sessions.SessionsLoop(node, place_of).run,
    )
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(loop()) for loop in loops]
        await stopping.wait()
        for task in tasks:
            task.cancel()
    await _stop(node, report)


async def _connected(settings: Settings, me: identity.Identity, book: Ledger) -> None:
    link, places = Link(me), geo.Places.open(settings.geo_city, settings.geo_asn)
    try:
        node = Node(
            cores=[Core(driver) for driver in drivers(settings)],
            ledger=book,
            link=link,
            pace=settings.pace,
            holding=book.held,
        )
        about = {"node": me.node, "ledger": book.id, "generation": book.held.generation}
        logs.event(LOGGER, logging.INFO, "agent_started", version=release.VERSION, collector=me.url, **about)
        for limitation in [limit for core in node.cores for limit in core.driver.limitations]:
            logs.event(LOGGER, logging.WARNING, "limitation", what=limitation)
        await live(node, _stopping(), places.look_up)
    finally:
        places.close()
        await link.close()


def _stopping() -> asyncio.Event:
    event = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, event.set)
    return event


async def _boot(node: Node) -> None:
    try:
        await serving.boot(node)
    except DriverError as error:
        # The healing loop goes on from here; an agent that gave up could not even say so.
        node.incident("core_start_failed", str(error))


async def _stop(node: Node, report: ReportLoop) -> None:
    logs.event(LOGGER, logging.INFO, "agent_stopping")
    try:
        async with asyncio.timeout(_STOP_S), node.changing:
            if not await serving.finish(node):
                logs.event(LOGGER, logging.ERROR, "core_left_running", reason="its counters cannot be kept")
    except (TimeoutError, DriverError) as error:
        logs.event(LOGGER, logging.ERROR, "core_not_stopped", reason=str(error) or "it took too long")
    try:
        async with asyncio.timeout(_LAST_REPORT_S):
            await report.flush()
    except (TimeoutError, LinkProblem) as error:
        # Totals are in the ledger: the next agent tells them.
        logs.event(LOGGER, logging.WARNING, "last_report_failed", reason=str(error) or "no answer in time")
    logs.event(LOGGER, logging.INFO, "agent_stopped", unreported=len(node.unreported))
