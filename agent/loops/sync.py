"""Brings the collector's desired state to the core: wait for the difference, keep, apply, acknowledge.

What always holds: a state is kept before it is applied and applied before it is acknowledged; an outcome that
could not be told is told later. A poll, a reconnect and the periodic full compare take the same path.
"""

import dataclasses
import logging
import time
from itertools import islice

from agent.core import plan
from agent.core.served import Served
from agent.link import LinkProblem, RefusedError
from agent.loops import obstacles, outcomes, pace, penalties, serving
from agent.loops.node import Core, Node
from shared import logs
from shared.messages import DesiredState, SyncReport

LOGGER = logging.getLogger(__name__)

#: A collector that answers at once although nothing changed is asked again no sooner than this.
_CALM_S = 1.0
#: Seconds between looks at what keeps endpoints from being served.
_RETRY_S = 3.0
#: Outcomes of an acknowledgement: more of them only need more memory at once.
_OUTCOMES = 2_000


class SyncLoop:
    """From the collector to the core, and the outcome back."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._ask_full = False
        self._unsettled = False
        #: By core, what it served when it was last found to serve something else than we believed.
        self._drifted: dict[str, Served] = {}

    async def once(self) -> float:
        """One long poll; returns the seconds before the next."""
        node = self._node
        node.keep()
        await self.acknowledge()
        if self._unsettled:
            await self._settle()
        asked_s = time.monotonic()
        since, wait_s = (0, 0) if self._ask_full else (node.holding.generation, node.pace.wait_s)
        try:
            state = await node.link.configs(since, wait_s, node.penalty_mark)
        except LinkProblem:
            # Whoever answers next may have been restored from a backup: an equal generation proves nothing.
            self._ask_full = True
            raise
        if state.full:
            # It may have forgotten what it had confirmed.
            node.ledger.confirmed.clear()
            node.tell_all()
        changed = await self.take(state)
        await self.acknowledge()
        return 0.0 if changed else max(0.0, _CALM_S - (time.monotonic() - asked_s))

    async def compare_once(self) -> float:
        """Compare everything with the core and with the collector; returns the seconds until the next."""
        node = self._node
        for core in node.cores:
            await self._compare_core(core)
        await self.take(await node.link.configs(0, 0, node.penalty_mark))
        node.tell_all()
        await self.acknowledge()
        return pace.jittered(node.pace.full_compare_s)

    async def retry_once(self) -> float:
        """Serve what an obstacle kept from being served, once it is gone; returns the seconds to wait."""
        async with self._node.changing:
            lifted = await obstacles.lift(self._node)
        if lifted:
            await self._settle()
            await self.acknowledge()
        return _RETRY_S

    async def run_retry(self) -> None:
        """Look after obstacles for ever."""
        await pace.forever(self._node, "retry", self.retry_once)

    async def run(self) -> None:
        """Poll for ever."""
        outcomes.tell(self._node, self._node.holding.items)
        await pace.forever(self._node, "sync", self.once)

    async def run_compare(self) -> None:
        """Compare for ever; what an outage put off is made up for at the reconnect."""
        await pace.forever(self._node, "compare", self.compare_once)

    async def take(self, state: DesiredState) -> bool:
        """Keep a state and apply it; False when it changes nothing or must not be taken."""
        node = self._node
        node.give_back(state.recalled)
        await self._obey(state)
        async with node.changing:
            before = node.holding
            after = plan.receive(before, state)
            if isinstance(after, plan.Outdated):
                logs.event(LOGGER, logging.WARNING, "state_refused", reason=after.reason)
                self._ask_full = True
                return False
            self._ask_full = self._ask_full and not state.full
            # The collector answers this node's credentials, so it owns the node, again or still.
            after = dataclasses.replace(after, revoked=False)
            if after == before:
                return False
            if state.full and after.generation == before.generation:
                logs.event(LOGGER, logging.ERROR, "state_diverged", generation=after.generation)
            node.hold(after)
            self._unsettled = True
        if before.revoked:
            await serving.resume(node)
        await self._settle()
        outcomes.tell(node, [key for key, item in after.items.items() if before.items.get(key) != item])
        gone = [item for item in state.items if item.body is None]
        outcomes.tell_gone(node, gone)
        return True

    async def _obey(self, state: DesiredState) -> None:
        if penalties.note(self._node, state):
            # Should a core that fails break this off, the next poll settles first.
            self._unsettled = True
            await penalties.enforce(self._node)
            self._unsettled = False

    async def _settle(self) -> None:
        began_s = time.monotonic()
        await serving.settle(self._node)
        self._unsettled = False
        logs.event(
            LOGGER,
            logging.INFO,
            "state_applied",
            generation=self._node.holding.generation,
            accounts=len(self._node.serving.accounts),
            failures=len(self._node.failures),
            took_ms=round(1000 * (time.monotonic() - began_s), 1),
        )

    async def acknowledge(self) -> None:
        """Tell every outcome that has not been told."""
        node = self._node
        while outcomes := dict(islice(node.untold.items(), _OUTCOMES)):
            report = SyncReport(generation=node.holding.generation, items=list(outcomes.values()))
            try:
                await node.link.acknowledge(report)
            except RefusedError as error:
                # Nothing in it is worth stopping the polls for.
                logs.event(LOGGER, logging.WARNING, "acknowledgement_refused", reason=str(error))
            for key, outcome in outcomes.items():
                if node.untold.get(key) == outcome:
                    del node.untold[key]

    async def _compare_core(self, core: Core) -> None:
        """Repair what a core serves otherwise than we believe."""
        node = self._node
        async with node.changing:
            if node.holding.revoked:
                return
            found = await core.driver.served()
            if found == core.serving:
                self._drifted.pop(core.name, None)
                return
            difference = _counts(found, core.serving)
            logs.event(LOGGER, logging.ERROR, "core_drifted", core=core.name, **difference)
            before = self._drifted.get(core.name)
            if before is not None and before.endpoints == found.endpoints:
                # It came back the same after a repair: cutting everybody there again would not help.
                core.serving = Served(core.serving.endpoints, found.accounts)
            else:
                core.serving = found
            self._drifted[core.name] = found
            self._unsettled = True
        await self._settle()


def _counts(found: Served, believed: Served) -> dict[str, object]:
    difference = plan.difference(believed, found)
    return {
        "closing": len(difference.closing),
        "opening": len(difference.opening),
        "leaving": len(difference.leaving),
        "joining": len(difference.joining),
    }
