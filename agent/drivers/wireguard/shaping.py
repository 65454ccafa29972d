"""Puts the speed limits of an interface into the kernel, and takes them out again.

What always holds: an interface on which nobody is limited has no queue of ours and no mirror; when a change
fails everything is built anew from what is wanted, and what fails then is tried again with the next change.
"""

from collections.abc import Mapping

from agent.core.counting import Meter
from agent.drivers import base
from agent.drivers.wireguard import checks, limits, network


class Shaper:
    """The limits of one interface."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._mirror = checks.mirror_name(device)
        self._wanted: dict[Meter, limits.Limit] = {}
        self._limits: limits.Limits | None = None

    def change(self, changed: Mapping[Meter, limits.Limit | None]) -> None:
        """Give these their limits, or none. Raises DriverError."""
        differing = {meter: limit for meter, limit in changed.items() if self._wanted.get(meter) != limit}
        for meter, limit in differing.items():
            if limit is None:
                del self._wanted[meter]
            else:
                self._wanted[meter] = limit
        if self._limits is None and not self._wanted:
            return
        self._follow(differing)
        if self._limits and self._limits.left_out:
            reasons = sorted(set(self._limits.left_out.values()))
            raise base.DriverError(f"{len(self._limits.left_out)} users have no limit: {'; '.join(reasons)}")

    def forget(self) -> None:
        """What the kernel has is of an earlier agent, or not known."""
        self._wanted.clear()
        self._limits = None
        if network.lacks("tc") is None:
            network.clear_queues(self._device)
            network.delete(self._mirror)

    def _follow(self, differing: Mapping[Meter, limits.Limit | None]) -> None:
        if not self._wanted:
            self.forget()
            return
        if self._limits is not None:
            current, self._limits = self._limits, None
            try:
                network.tc(current.change(differing))
            except base.DriverError:
                pass  # somebody else has been at it: everything anew
            else:
                self._limits = current
                return
        self._build()

    def _build(self) -> None:
        network.clear_queues(self._device)
        network.add_mirror(self._mirror)
        fresh = limits.Limits(self._device, self._mirror)
        network.tc([*fresh.base(), *fresh.change(self._wanted)])
        self._limits = fresh


def limit(wanted: checks.Wanted) -> limits.Limit | None:
    """The limit of an account, if it has one."""
    if wanted.up_kbps is None and wanted.down_kbps is None:
        return None
    return limits.Limit(wanted.addresses, wanted.up_kbps, wanted.down_kbps)
