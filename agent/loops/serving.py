"""Everything that changes what the cores serve, always in the same order.

What always holds:
- What goes goes first, then endpoints close and open, then accounts join. An endpoint that the core would
  refuse is known before anybody leaves for it.
- A core that is down keeps the others from nothing.
- Each step takes `changing` anew, so a cut waits for two hundred joining accounts, not for ten thousand.
"""

import dataclasses
import logging
from collections.abc import Collection, Sequence
from itertools import islice

from agent.core import plan
from agent.core.counting import Meter
from agent.core.served import Served
from agent.drivers.base import DriverError, RestartNeededError
from agent.ledger import LedgerError
from agent.loops import cores, obstacles, outcomes
from agent.loops.node import Core, Node
from shared import logs
from shared.names import UserId

LOGGER = logging.getLogger(__name__)

#: Accounts added in one step: about 40 ms at 5,000 a second.
JOIN_STEP = 200


async def boot(node: Node) -> None:
    """Take over or start every core; one that fails is an incident, and the healing loop goes on from there.

    Raises DriverError.
    """
    async with node.changing:
        for core in node.cores:
            try:
                await cores.boot(node, core)
            except DriverError as error:
                node.incident("core_start_failed", str(error))
    await settle(node)


async def settle(node: Node) -> None:
    """Bring the cores to what is wanted, in steps; then know why the rest is not served."""
    async with node.settling:
        node.unjoined.clear()
        failures: list[DriverError] = []
        for core in node.cores:
            tried: set[Meter] = set()
            try:
                while await _step(node, core, tried):
                    pass
            except DriverError as error:
                failures.append(error)
        if failures:
            raise failures[0]
        async with node.changing:
            outcomes.conclude(node)


async def enforce(node: Node, users: Collection[UserId], generation: int) -> None:
    """Cut users whom the collector stopped; `generation` is the state held when their bytes were reported."""
    node.stop(users, generation)
    await expel(node, users)


async def expel(node: Node, users: Collection[UserId]) -> None:
    """Cut those of these users who are served and may not be."""
    async with node.changing:
        wanted = node.wanted().served.accounts
        failures: list[DriverError] = []
        for core in node.cores:
            try:
                await cores.ascertain(core)
                meters = [m for m in core.serving.accounts if m.user in users and m not in wanted]
                if meters:
                    await _leave(node, core, meters)
            except DriverError as error:
                failures.append(error)
        if failures:
            raise failures[0]


async def halt(node: Node) -> None:
    """The collector disowned this node: end every connection and serve nobody, until it is owned again."""
    if node.holding.revoked:
        return
    node.hold(dataclasses.replace(node.holding, revoked=True))
    for core in node.cores:
        await keep_stopped(node, core)
    node.incident("node_revoked", "the collector refuses this node's credentials: it serves nobody now")


async def keep_stopped(node: Node, core: Core) -> None:
    """See to it that a revoked node's core is gone; what fails is tried again at the next look."""
    topic = f"stop {core.name}"
    async with node.changing:
        try:
            status = await core.driver.status()
            if node.holding.revoked and (status.running or core.serving.endpoints):
                await cores.finish(node, core)
                core.serving = Served()
        except DriverError as error:
            node.trouble(topic, str(error))
        else:
            node.well(topic)


async def resume(node: Node) -> None:
    """Start the cores of a node that is owned again. Raises DriverError."""
    async with node.changing:
        for core in node.cores:
            await cores.start(node, core)


async def finish(node: Node) -> bool:
    """Read every core a last time and end it; False when one goes on, since its counters cannot be kept."""
    return all([await cores.finish(node, core) for core in node.cores])


async def _leave(node: Node, core: Core, meters: Sequence[Meter]) -> None:
    try:
        await cores.leave(node, core, meters)
    except RestartNeededError:
        await cores.restart(node, core)


async def _step(node: Node, core: Core, tried: set[Meter]) -> bool:
    """One step towards what is wanted; True when there may be another."""
    async with node.changing:
        if node.holding.revoked:
            return False
        await cores.ascertain(core)
        if core.stale:
            await cores.restart(node, core)
            return True
        try:
            return await _advance(node, core, tried)
        except RestartNeededError as error:
            logs.event(LOGGER, logging.WARNING, "core_restart_needed", core=core.name, reason=str(error))
            await cores.restart(node, core)
            return True


async def _advance(node: Node, core: Core, tried: set[Meter]) -> bool:
    """Take whoever and whatever is to leave out, and some of those in who are to join. Raises DriverError."""
    steps = plan.difference(node.wanted_of(core), core.serving)
    if steps.opening and await obstacles.refuse(node, core):
        steps = plan.difference(node.wanted_of(core), core.serving)
    if steps.closing:
        cores.writable(node)
    kept = await cores.leave(node, core, steps.leaving) if steps.leaving else True
    if steps.opening or steps.closing:
        if not kept:
            raise LedgerError("an endpoint is not closed until the ledger can be written")
        tried.update(Meter(a.user, a.endpoint) for a in steps.joining if _opens(steps, a.endpoint))
        await cores.replace(node, core, steps)
        return True
    untried = (a for a in steps.joining if Meter(a.user, a.endpoint) not in tried)
    joining = list(islice(untried, JOIN_STEP))
    tried.update(Meter(a.user, a.endpoint) for a in joining)
    if joining:
        await cores.join(node, core, joining)
    return len(joining) == JOIN_STEP


def _opens(steps: plan.Plan, endpoint: int) -> bool:
    return any(one.endpoint == endpoint for one in steps.opening)
