"""What is done to one core: taken over, started, read a last time, told whom to serve.

What always holds:
- Leaving is block, read and book, cut. A restart of our own making is cut, read and book, start; it is put
  off while the ledger cannot be written, since a core that is started anew loses its counters.
- One bad endpoint or account never keeps the others from being served.
- Whoever calls holds `changing`.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Collection, Iterator, Mapping, Sequence

from agent.core import plan
from agent.core.counting import Meter
from agent.core.served import Served
from agent.drivers.base import CoreDownError, DriverError, PartlyServedError, RestartNeededError
from agent.ledger import LedgerError
from agent.loops import obstacles
from agent.loops.node import Core, Node, now_ms
from shared import logs
from shared.messages import Account, Endpoint
from shared.names import EndpointId

LOGGER = logging.getLogger(__name__)

#: The fact that a core was ended after a last reading; a core of the same name begins with 0.
_STOPPED = "core_stopped"
#: Seconds that a core may take to be read first; if it is slower, the next reading makes it known.
_FIRST_READING_S = 1.0
#: Users named in one log line.
_SHOWN_USERS = 100


async def boot(node: Node, core: Core) -> None:
    """Take over the core that an earlier agent left, or start one with the last good state.

    A core that this ledger has not counted last was counted in another one: it is ended, not taken over.
    Raises DriverError.
    """
    if node.holding.revoked:
        await core.driver.stop()
    elif await _adopted(node, core):
        logs.event(LOGGER, logging.INFO, "core_adopted", core=core.name, accounts=len(core.serving.accounts))
    else:
        await start(node, core)
        logs.event(LOGGER, logging.INFO, "core_started", core=core.name, accounts=len(core.serving.accounts))


async def last_reading(node: Node, core: Core, *, patience_s: float | None = None) -> bool:
    """End every connection and book what was counted; False when the ledger could not keep it.

    `patience_s` bounds the wait for a core that may never answer, and for another reading that waits for it.
    """
    until_s = None if patience_s is None else asyncio.get_running_loop().time() + patience_s
    with _logged("cut_all"):
        await core.driver.cut_all()
    try:
        with _logged("last_reading"):
            async with asyncio.timeout_at(until_s):
                await node.book(core)
    except LedgerError as error:
        node.trouble("ledger", str(error))
        return False
    return True


async def finish(node: Node, core: Core) -> bool:
    """Read the core a last time and end it; False, and it goes on, when its counters cannot be kept."""
    if not await last_reading(node, core):
        return False
    await core.driver.stop()
    node.ledger.note(_stopped(core), 1)
    return True


async def start(node: Node, core: Core) -> None:
    """Start the core with everything wanted, or with as much of it as it takes. Raises DriverError.

    What of it must end has been read for the last time.
    """
    good = core.serving.endpoints
    mine = [key for key, one in node.refused.items() if one.endpoint.protocol in core.driver.protocols]
    for endpoint in mine:
        del node.refused[endpoint]
    await obstacles.refuse(node, core, starting=True)
    wanted = node.wanted_of(core)
    try:
        await core.driver.start(wanted)
    except PartlyServedError as error:
        for endpoint, reason in error.refused.items():
            obstacles.note(node, wanted.endpoints[endpoint], reason)
        core.serving = plan.without_endpoints(wanted, error.refused.keys())
    except DriverError as error:
        logs.event(LOGGER, logging.ERROR, "start_refused", core=core.name, reason=str(error))
        await _start_carefully(node, core, wanted, good)
    else:
        core.serving = wanted
    core.certain, core.stale = True, False
    await _acquaint(node, core)


async def restart(node: Node, core: Core) -> None:
    """Start the core anew with what is wanted, after a last reading. Raises LedgerError or DriverError."""
    # Asked before anybody is cut: a disk that is full now would leave them cut until it is not.
    writable(node)
    if not await last_reading(node, core):
        core.stale = True
        raise LedgerError("a restart of the core is put off until the ledger can be written")
    await start(node, core)


def writable(node: Node) -> None:
    """See that what a core counts can be kept, before anybody is cut. Raises LedgerError."""
    node.ledger.note("restart_ms", now_ms())


async def ascertain(core: Core) -> None:
    """Know what the core serves, where a change broke off. Raises DriverError."""
    if not core.certain:
        core.serving = await core.driver.served()
        core.certain = True


async def leave(node: Node, core: Core, meters: Sequence[Meter]) -> bool:
    """Serve these no longer, and end their connections; False when the ledger could not keep what passed.

    Raises DriverError.
    """
    kept, shown_s = True, _shown_s(node, meters)
    unblocked = await core.driver.block(meters)
    for meter, reason in unblocked.items():
        logs.event(
            LOGGER, logging.ERROR, "block_failed", user=meter.user, endpoint=meter.endpoint, reason=reason
        )
    try:
        with _logged("read_before_cut"):
            await node.book(core)
    except LedgerError as error:
        # The counter stays at the core: what could not be kept now is in the next reading.
        node.trouble("ledger", str(error))
        kept = False
    cut = await core.driver.cut(meters)
    core.serving = plan.without(core.serving, (m for m in meters if m not in unblocked))
    logs.event(
        LOGGER,
        logging.INFO,
        "user_cut",
        users=sorted({meter.user for meter in meters})[:_SHOWN_USERS],
        since_reading_ms=None if shown_s is None else round(1000 * (time.monotonic() - shown_s), 1),
        ended=cut.ended,
        left=cut.left,
    )
    return kept


async def join(node: Node, core: Core, accounts: Sequence[Account]) -> None:
    """Serve these too; why some are refused is noted. Raises DriverError."""
    # If this breaks off, some may be served that we do not know of: ask the core before the next step.
    core.certain = False
    refused = await core.driver.add(accounts)
    core.certain = True
    _joined(node, core, accounts, refused)


async def replace(node: Node, core: Core, steps: plan.Plan) -> None:
    """Close and open endpoints, whose accounts have left. Raises DriverError.

    Those of the core's own refusal are noted, and what ran there before is opened again.
    """
    before = core.serving.endpoints
    core.certain = False
    try:
        for endpoint in steps.closing:
            await core.driver.withdraw(endpoint)
            core.serving = plan.withdrawn(core.serving, endpoint)
        for one in steps.opening:
            accounts = [account for account in steps.joining if account.endpoint == one.endpoint]
            await _open(node, core, one, accounts, before.get(one.endpoint))
    except RestartNeededError as error:
        logs.event(LOGGER, logging.WARNING, "core_restart_needed", core=core.name, reason=str(error))
        await restart(node, core)
        return
    core.certain = True
    await _acquaint(node, core)


async def _open(
    node: Node, core: Core, endpoint: Endpoint, accounts: Sequence[Account], before: Endpoint | None
) -> None:
    try:
        refused = await core.driver.place(endpoint, accounts)
    except (RestartNeededError, CoreDownError):
        raise
    except DriverError as error:
        obstacles.note(node, endpoint, str(error))
        if before is None:
            return
        # The same accounts are wanted there: an endpoint keeps its number and its protocol.
        refused, endpoint = await core.driver.place(before, accounts), before
    core.serving = plan.placed(core.serving, endpoint)
    _joined(node, core, accounts, refused)


def _joined(node: Node, core: Core, accounts: Sequence[Account], refused: Mapping[Meter, str]) -> None:
    node.unjoined |= refused
    core.serving = plan.joined(
        core.serving, (a for a in accounts if Meter(a.user, a.endpoint) not in refused)
    )


async def _adopted(node: Node, core: Core) -> bool:
    try:
        found = await core.driver.adopt(node.wanted_of(core))
        readings = [] if found is None else await core.driver.read()
    except DriverError as error:
        logs.event(LOGGER, logging.WARNING, "adoption_failed", core=core.name, reason=str(error))
        found, readings = None, []
    known = all(node.ledger.generation(one.source) == one.generation for one in readings)
    if found is not None and known:
        core.serving, core.stale = found.served, found.stale
        return True
    if found is not None:
        # A start leaves alone what runs as it should; these counters are in another ledger already.
        await core.driver.stop()
    if node.ledger.fact(_stopped(core)) == 0:
        node.incident(
            "core_lost",
            "the core ended while no agent was there to read it: what passed since the last reading is not"
            " counted",
        )
    return False


async def _acquaint(node: Node, core: Core) -> None:
    """Make what has just started known to the ledger: it is this ledger's from its first byte on."""
    try:
        with _logged("first_reading"):
            async with asyncio.timeout(_FIRST_READING_S):
                await node.book(core)
        if node.ledger.fact(_stopped(core)) != 0:
            node.ledger.note(_stopped(core), 0)
    except LedgerError as error:
        node.trouble("ledger", str(error))


def _stopped(core: Core) -> str:
    return f"{_STOPPED}/{core.name}"


def _shown_s(node: Node, meters: Collection[Meter]) -> float | None:
    """When the reading was taken that showed why these must go, where it was a reading that did."""
    # The desired state may overtake the answer to the report that moved it; the reading is the same.
    reported = [node.in_flight[meter] for meter in meters if meter in node.in_flight]
    spent = [node.spent.pop(meter.user) for meter in meters if meter.user in node.spent]
    return min(spent or reported, default=None)


async def _start_carefully(
    node: Node, core: Core, wanted: Served, good: Mapping[EndpointId, Endpoint]
) -> None:
    """Find what the core will not start with: first the endpoints that ran before, then one more at a time.

    Accounts join afterwards, one answer each, so a bad account is named too.
    """
    suspects = [e for e in wanted.endpoints.values() if good.get(e.endpoint) != e]
    kept = {known: good[known] for known in wanted.endpoints if known in good}
    if not suspects:
        # What ran before no longer starts: the cause came from outside, and any of them may be hit.
        suspects, kept = list(wanted.endpoints.values()), {}
    await core.driver.start(Served(kept))
    running = kept
    for endpoint in suspects:
        candidate = {**kept, endpoint.endpoint: endpoint}
        try:
            running = {}
            await core.driver.start(Served(candidate))
        except DriverError as error:
            obstacles.note(node, endpoint, str(error))
        else:
            running = kept = candidate
    if running != kept:
        await core.driver.start(Served(kept))
    core.serving = Served(kept)


@contextlib.contextmanager
def _logged(what: str) -> Iterator[None]:
    """A core that is down or silent has nothing to say; that is not a reason to stop halfway."""
    try:
        yield
    except CoreDownError:
        return
    except (DriverError, TimeoutError) as error:
        reason = str(error) or "no answer in time"
        logs.event(LOGGER, logging.WARNING, "core_silent", during=what, reason=reason)
