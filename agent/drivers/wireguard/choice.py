"""Which back end runs on this node, and what it cannot do there."""

import shutil

from agent.drivers.wireguard import kernel, network, options, peers

#: What is told as the version of the core.
VERSIONS = {"kernel": "WireGuard of the kernel", "userspace": "wireguard-go"}


def backend(chosen: options.Options) -> peers.Backend:
    """Which back end runs here: the module where there is one, or the one that is forced."""
    if chosen.backend == "userspace":
        return "userspace"
    lacking = kernel.lacking()
    if lacking and chosen.backend == "kernel":
        raise ValueError(f"the kernel's WireGuard cannot be used here: {lacking}")
    return "userspace" if lacking else "kernel"


def limitations(chosen: options.Options, runs: peers.Backend) -> tuple[str, ...]:
    """What cannot be done on this node, in sentences."""
    found: list[str] = []
    if runs == "userspace" and shutil.which(chosen.binary) is None:
        found.append("WireGuard cannot be served: install wireguard-go, or a kernel with its module.")
    if network.lacks("ip"):
        found.append("WireGuard cannot be served: install the package iproute2.")
    if network.lacks("tc"):
        found.append("Speed limits of WireGuard users are not kept: install the package iproute2.")
    if network.lacks("nft"):
        found.append("Endpoints of WireGuard that masquerade cannot be served: install the package nftables.")
    return tuple(found)
