"""What lies around an interface in this network namespace: links, addresses, NAT, forwarding, queues.

What always holds: programs are run without a shell, on values that `checks` has made; every call blocks, is
bounded in time, and raises DriverError with what the program said; asking for what is there already succeeds.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.drivers import base
from agent.drivers.wireguard.checks import Link

_CALL_S = 20.0
_SAID = 300
_IPV4_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
_IPV6 = Path("/proc/sys/net/ipv6/conf")
_PACKAGES = {"ip": "iproute2", "tc": "iproute2", "nft": "nftables"}


@dataclass(frozen=True, kw_only=True)
class Found:
    """An interface that is there; `kind` is empty for one of no special kind."""

    index: int
    alias: str
    kind: str


def lacks(program: str) -> str | None:
    """The package that has this program, when it is not installed."""
    return None if shutil.which(program) else _PACKAGES[program]


def link(name: str) -> Found | None:
    """The interface of this name, if there is one."""
    done = _run(["ip", "-j", "-d", "link", "show", "dev", name], None)
    if done.returncode:
        return None
    try:
        shown = json.loads(done.stdout)[0]
        index, alias = int(shown["ifindex"]), str(shown.get("ifalias", ""))
        return Found(index=index, alias=alias, kind=str(shown.get("linkinfo", {}).get("info_kind", "")))
    except (ValueError, LookupError, TypeError, AttributeError):
        raise base.DriverError("the program ip says what cannot be understood") from None


def add_kernel(name: str, alias: str) -> None:
    """Make an interface of the kernel's module."""
    ip([f"link add dev {name} type wireguard", f"link set dev {name} alias {alias}"])


def delete(name: str) -> None:
    """Remove an interface, if it is there."""
    if link(name):
        ip([f"link del dev {name}"])


def set_up(name: str, wanted: Link) -> None:
    """Give it its addresses and MTU and let packets pass; routes to its networks come with the addresses."""
    # Nobody else is on this wire: an address of version 6 need not be looked for first.
    addresses = [
        f"address replace {one} dev {name}" + (" nodad" if ":" in one else "") for one in wanted.addresses
    ]
    ip([f"link set dev {name} mtu {wanted.mtu}", *addresses, f"link set dev {name} up"])


def masquerade(name: str, wanted: Link) -> None:
    """Let peers reach the world under the node's addresses, or not, by a table of the interface's own."""
    if not wanted.masquerade:
        unmasquerade(name)
        return
    rules = [
        f'  {"ip6" if network.version == 6 else "ip"} saddr {network} oifname != "{name}" masquerade'  # noqa: PLR2004 - IPv6
        for network in wanted.networks
    ]
    chain = " chain postrouting { type nat hook postrouting priority srcnat; policy accept;"
    table = _table(name)
    _must(
        "nft",
        ["-f", "-"],
        [f"table {table}", f"delete table {table}", f"table {table} {{", chain, *rules, " }", "}"],
    )


def unmasquerade(name: str) -> None:
    """Remove the interface's table, if there is one."""
    if lacks("nft") is None:
        table = _table(name)
        _must("nft", ["-f", "-"], [f"table {table}", f"delete table {table}"])


def forward(wanted: Link) -> list[str]:
    """Let the node pass packets on; returns what had to be switched on for that."""
    switches: list[Path] = []
    if any(network.version == 4 for network in wanted.networks):  # noqa: PLR2004 - IPv4
        switches.append(_IPV4_FORWARD)
    if any(network.version == 6 for network in wanted.networks):  # noqa: PLR2004 - IPv6
        switches.append(_IPV6 / "all/forwarding")
    off = [switch for switch in switches if _read(switch) == "0"]
    if _IPV6 / "all/forwarding" in off:
        _keep_advertised_routes()
    for switch in off:
        _write(switch, "1")
    return [".".join(switch.parts[3:]) for switch in off]


def add_mirror(mirror: str) -> None:
    """Make the interface through which what comes up is led; any of that name is removed first."""
    delete(mirror)
    ip([f"link add dev {mirror} type ifb", f"link set dev {mirror} txqueuelen 1000 up"])


def clear_queues(name: str) -> None:
    """Remove what limits have put on an interface; success when there is nothing."""
    _run(["tc", "qdisc", "del", "dev", name, "root"], None)
    _run(["tc", "qdisc", "del", "dev", name, "ingress"], None)


def ip(lines: Sequence[str]) -> None:
    """Run lines of `ip -batch`."""
    _must("ip", ["-batch", "-"], lines)


def tc(lines: Sequence[str]) -> None:
    """Run lines of `tc -batch`."""
    _must("tc", ["-batch", "-"], lines)


def _table(name: str) -> str:
    return f"inet tidegate_{name.replace('-', '_')}"


def _keep_advertised_routes() -> None:
    """A node that forwards takes no routes from advertisements unless told so: it must not lose its own."""
    for setting in _IPV6.glob("*/accept_ra"):
        if _read(setting) == "1":
            _write(setting, "2")


def _read(setting: Path) -> str:
    try:
        return setting.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _write(setting: Path, value: str) -> None:
    try:
        setting.write_text(value, encoding="ascii")
    except OSError as error:
        name = ".".join(setting.parts[3:])
        raise base.DriverError(
            f"{name} cannot be set to {value}, set it yourself: {error.strerror}"
        ) from error


def _must(program: str, arguments: Sequence[str], lines: Sequence[str]) -> None:
    done = _run([program, *arguments], lines)
    if done.returncode:
        said = " / ".join(_telling(done.stderr))[:_SAID]
        raise base.DriverError(f"{program} failed: {said or f'status {done.returncode}'}")


def _run(command: Sequence[str], lines: Sequence[str] | None) -> subprocess.CompletedProcess[str]:
    text = "\n".join([*(lines or ()), ""])
    try:
        return subprocess.run(
            command, input=text, capture_output=True, text=True, check=False, timeout=_CALL_S
        )
    except FileNotFoundError:
        package = _PACKAGES[command[0]]
        raise base.DriverError(f"there is no {command[0]}: install the package {package}") from None
    except subprocess.TimeoutExpired:
        raise base.DriverError(f"{command[0]} did not end within {_CALL_S:g} s") from None


def _telling(said: str) -> Iterator[str]:
    return (
        line.strip() for line in said.splitlines() if line.strip() and not line.startswith("Command failed")
    )
