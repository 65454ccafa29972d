"""Everything that changes what the core serves, always in the same order.

What always holds:
- Leaving is block, read and book, cut. A restart of our own making is cut, read and book, stop, start; it is
  put off while the ledger cannot be written, since a stopped core takes its counters with it.
- One bad endpoint or account never keeps the others from being served.
- Each step takes `changing` anew, so a cut waits for two hundred joining accounts, not for ten thousand.
"""

import asyncio
import contextlib
import dataclasses
import logging
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice

from agent.core import plan
from agent.core.counting import Meter
from agent.core.served import Served
from agent.drivers.base import CoreDownError, DriverError
from agent.ledger import LedgerError
from agent.loops import obstacles, outcomes
from agent.loops.node import Node, now_ms
from shared import logs
from shared.messages import Account, Endpoint
from shared.names import EndpointId, UserId

LOGGER = logging.getLogger(__name__)

#: Accounts added in one step: about 40 ms at 5,000 a second.
JOIN_STEP = 200
#: The fact that the core was ended after a last reading.
_STOPPED = "core_stopped"
#: Seconds that a core may take to be read first; if it is slower, the next reading makes it known.
_FIRST_READING_S = 1.0
#: Users named in one log line.
_SHOWN_USERS = 100


async def boot(node: Node) -> None:
    """Take over the core that an earlier agent left, or start one with the last good state.

    A core that this ledger has not counted last was counted in another one: it is ended, not taken over.
    """
    async with node.changing:
        if node.holding.revoked:
            await node.driver.stop()
            return
        found = await _adopted(node)
        if found is not None:
            node.serving = found
            logs.event(LOGGER, logging.INFO, "core_adopted", accounts=len(found.accounts))
        else:
            await start(node)
            logs.event(LOGGER, logging.INFO, "core_started", accounts=len(node.serving.accounts))
    await settle(node)


async def settle(node: Node) -> None:
    """Bring the core to what is wanted, in steps; then know why the rest is not served."""
    async with node.settling:
        tried: set[Meter] = set()
        node.unjoined.clear()
        while await _step(node, tried):
            pass
        async with node.changing:
            outcomes.conclude(node)


async def enforce(node: Node, users: Collection[UserId], generation: int) -> None:
    """Cut users whom the collector stopped; `generation` is the state held when their bytes were reported."""
    node.stop(users, generation)
    await expel(node, users)


async def expel(node: Node, users: Collection[UserId]) -> None:
    """Cut those of these users who are served and may not be."""
    async with node.changing:
        await _ascertain(node)
        wanted = node.wanted().served.accounts
        meters = [m for m in node.serving.accounts if m.user in users and m not in wanted]
        if meters:
            await _leave(node, meters)


async def halt(node: Node) -> None:
    """The collector disowned this node: end every connection and serve nobody, until it is owned again."""
    if node.holding.revoked:
        return
    node.hold(dataclasses.replace(node.holding, revoked=True))
    await keep_stopped(node)
    node.incident("node_revoked", "the collector refuses this node's credentials: it serves nobody now")


async def keep_stopped(node: Node) -> None:
    """See to it that a revoked node's core is gone; what fails is tried again at the next look."""
    async with node.changing:
        try:
            status = await node.driver.status()
            if node.holding.revoked and (status.running or node.serving.endpoints):
                await finish(node)
                node.serving = Served()
        except DriverError as error:
            node.trouble("stop", str(error))
        else:
            node.well("stop")


async def resume(node: Node) -> None:
    """Start the core of a node that is owned again. Raises DriverError."""
    async with node.changing:
        await start(node)


async def last_reading(node: Node, *, patience_s: float | None = None) -> bool:
    """End every connection and book what was counted; False when the ledger could not keep it.

    `patience_s` bounds the wait for a core that may never answer, and for another reading that waits for it.
    """
    until_s = None if patience_s is None else asyncio.get_running_loop().time() + patience_s
    with _logged("cut_all"):
        await node.driver.cut_all()
    try:
        with _logged("last_reading"):
            async with asyncio.timeout_at(until_s):
                await node.book()
    except LedgerError as error:
        node.trouble("ledger", str(error))
        return False
    return True


async def finish(node: Node) -> bool:
    """Read the core a last time and end it; False, and it goes on, when its counters cannot be kept."""
    if not await last_reading(node):
        return False
    await node.driver.stop()
    node.ledger.note(_STOPPED, 1)
    return True


async def start(node: Node) -> None:
    """Start the core with everything wanted, or with as much of it as it takes. Raises DriverError.

    `changing` is held by the caller, who has read the old core for the last time.
    """
    good = node.serving.endpoints
    node.refused.clear()
    await node.driver.stop()
    await obstacles.refuse(node)
    wanted = node.wanted().served
    try:
        await node.driver.start(wanted)
    except DriverError as error:
        logs.event(LOGGER, logging.ERROR, "start_refused", reason=str(error))
        await _start_carefully(node, wanted, good)
    else:
        node.serving = wanted
    node.certain = True
    await _acquaint(node)


async def _adopted(node: Node) -> Served | None:
    try:
        found = await node.driver.adopt()
        counted = None if found is None else (await node.driver.read()).generation
    except DriverError as error:
        logs.event(LOGGER, logging.WARNING, "adoption_failed", reason=str(error))
        return None
    if counted == node.ledger.core_generation:
        return found
    if node.ledger.core_generation is not None and node.ledger.fact(_STOPPED) != 1:
        node.incident(
            "core_lost",
            "the core ended while no agent was there to read it: what passed since the last reading is not"
            " counted",
        )
    return None


async def _acquaint(node: Node) -> None:
    """Make the core that has just started known to the ledger: it is this ledger's from its first byte on."""
    try:
        with _logged("first_reading"):
            async with asyncio.timeout(_FIRST_READING_S):
                await node.book()
        node.ledger.note(_STOPPED, 0)
    except LedgerError as error:
        node.trouble("ledger", str(error))


async def _step(node: Node, tried: set[Meter]) -> bool:
    """One step towards what is wanted; True when there may be another."""
    async with node.changing:
        if node.holding.revoked:
            return False
        await _ascertain(node)
        steps = plan.difference(node.wanted().served, node.serving)
        if steps.restart and await obstacles.refuse(node):
            steps = plan.difference(node.wanted().served, node.serving)
        if steps.restart:
            await _restart(node)
            return True
        if steps.leaving:
            await _leave(node, steps.leaving)
        untried = (a for a in steps.joining if Meter(a.user, a.endpoint) not in tried)
        joining = list(islice(untried, JOIN_STEP))
        tried.update(Meter(a.user, a.endpoint) for a in joining)
        if joining:
            await _join(node, joining)
        return len(joining) == JOIN_STEP


async def _ascertain(node: Node) -> None:
    if not node.certain:
        node.serving = await node.driver.served()
        node.certain = True


async def _restart(node: Node) -> None:
    # Asked before anybody is cut: a disk that is full now would leave them cut until it is not.
    node.ledger.note("restart_ms", now_ms())
    if not await last_reading(node):
        node.certain = False
        raise LedgerError("a restart of the core is put off until the ledger can be written")
    await start(node)


async def _leave(node: Node, meters: Sequence[Meter]) -> None:
    shown_s = _shown_s(node, meters)
    unblocked = await node.driver.block(meters)
    for meter, reason in unblocked.items():
        logs.event(
            LOGGER, logging.ERROR, "block_failed", user=meter.user, endpoint=meter.endpoint, reason=reason
        )
    try:
        with _logged("read_before_cut"):
            await node.book()
    except LedgerError as error:
        # The counter stays at the core: what could not be kept now is in the next reading.
        node.trouble("ledger", str(error))
    cut = await node.driver.cut(meters)
    node.serving = plan.without(node.serving, (m for m in meters if m not in unblocked))
    logs.event(
        LOGGER,
        logging.INFO,
        "user_cut",
        users=sorted({meter.user for meter in meters})[:_SHOWN_USERS],
        since_reading_ms=None if shown_s is None else round(1000 * (time.monotonic() - shown_s), 1),
        ended=cut.ended,
        left=cut.left,
    )


def _shown_s(node: Node, meters: Sequence[Meter]) -> float | None:
    """When the reading was taken that showed why these must go, where it was a reading that did."""
    # The desired state may overtake the answer to the report that moved it; the reading is the same.
    reported = [node.in_flight[meter] for meter in meters if meter in node.in_flight]
    spent = [node.spent.pop(meter.user) for meter in meters if meter.user in node.spent]
    return min(spent or reported, default=None)


async def _join(node: Node, accounts: Sequence[Account]) -> None:
    # If this breaks off, some may be served that we do not know of: ask the core before the next step.
    node.certain = False
    refused = await node.driver.add(accounts)
    node.certain = True
    node.unjoined |= refused
    node.serving = plan.joined(
        node.serving, (a for a in accounts if Meter(a.user, a.endpoint) not in refused)
    )


async def _start_carefully(node: Node, wanted: Served, good: Mapping[EndpointId, Endpoint]) -> None:
    """Find what the core will not start with: first the endpoints that ran before, then one more at a time.

    Accounts join afterwards, one answer each, so a bad account is named too.
    """
    suspects = [e for e in wanted.endpoints.values() if good.get(e.endpoint) != e]
    kept = {known: good[known] for known in wanted.endpoints if known in good}
    if not suspects:
        # What ran before no longer starts: the cause came from outside, and any of them may be hit.
        suspects, kept = list(wanted.endpoints.values()), {}
    await node.driver.start(Served(kept))
    running = kept
    for endpoint in suspects:
        candidate = {**kept, endpoint.endpoint: endpoint}
        try:
            await node.driver.stop()
            running = {}
            await node.driver.start(Served(candidate))
        except DriverError as error:
            node.refused[endpoint.endpoint] = plan.RefusedEndpoint(endpoint, str(error))
            logs.event(
                LOGGER, logging.ERROR, "endpoint_refused", endpoint=endpoint.endpoint, reason=str(error)
            )
        else:
            running = kept = candidate
    if running != kept:
        await node.driver.stop()
        await node.driver.start(Served(kept))
    node.serving = Served(kept)


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
