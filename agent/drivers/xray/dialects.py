"""What cores of Xray's family call things, and what each of them can do: Xray itself, and V2Ray 4.

Xray began as a copy of V2Ray: the messages have the same fields under other names, and a configuration
differs in few places. What always holds: the rest of the driver speaks Xray; what another core wants
otherwise is said here, and what it cannot do is said to the operator in words. No more than the standard
library is imported, since the host process reads this too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agent.core import versions

Tree = dict[str, Any]

#: The inbound that leads to V2Ray's API, which has no socket of its own.
_DOOR = "api"
#: Where a user must not get through a node: private, shared, local and reserved networks (RFC 6890).
_PRIVATE = (
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
    *("192.0.0.0/24", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/3"),
    *("::/127", "fc00::/7", "fe80::/10", "ff00::/8"),
)
#: What V2Ray 4.34 calls what Xray calls otherwise.
_NETWORKS = {"raw": "tcp", "websocket": "ws"}

_UNTOLD = (
    "V2Ray tells of connections in its log only, and drops lines of it under load: of a user who is stopped "
    "those connections are cut that it told of, and the others go on until they end by themselves."
)
_UNASKED = "V2Ray cannot be asked whom it serves: it is restarted, after a last reading, when the agent is."


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """One kind of core.

    `arguments` make it read its configuration from standard input. `telling`: it can be asked what it serves
    and who is online, and tells the host of every connection; of another one the host reads the log.
    """

    core: str
    package: str
    arguments: tuple[str, ...]
    telling: bool
    limitations: tuple[str, ...] = ()

    def name(self, xray: str) -> str:
        """What this core calls what Xray calls so: a type, or the path of a method."""
        return xray.replace("xray.", self.package, 1)

    def configured(self, whole: Tree, *, api: str, private: bool) -> Tree:
        """Xray's configuration as this core wants it; `private`: users may reach private addresses."""
        return whole if self.telling else _v2ray(whole, api, private=private)


XRAY = Dialect(core=versions.XRAY, package="xray.", arguments=("run", "-c", "stdin:"), telling=True)
V2RAY = Dialect(
    core=versions.V2RAY,
    package="v2ray.core.",
    arguments=("-config", "stdin:"),
    telling=False,
    limitations=(_UNTOLD, _UNASKED),
)


def of(core: str) -> Dialect:
    """The dialect of a core by its name; what is not known is taken for Xray."""
    return V2RAY if core == V2RAY.core else XRAY


def _v2ray(whole: Tree, api: str, *, private: bool) -> Tree:
    """V2Ray has no API of its own on a socket: an inbound on one leads to it. Its log goes to the host."""
    door = {
        "tag": _DOOR,
        "protocol": "dokodemo-door",
        "listen": "127.0.0.1",
        "port": 1,  # is said, and not taken: the transport below listens on its path only
        "settings": {"address": "127.0.0.1"},
        "streamSettings": {"network": "domainsocket", "dsSettings": {"path": api}},
    }
    rules = [{"type": "field", "inboundTag": [_DOOR], "outboundTag": _DOOR}]
    if not private:
        rules.append({"type": "field", "ip": list(_PRIVATE), "outboundTag": "nowhere"})
    return {
        "log": {"loglevel": "warning"},
        "api": {"tag": _DOOR, "services": whole["api"]["services"]},
        "stats": {},
        "policy": whole["policy"],
        # A name is looked up before the rules are asked, or it would be a way around them.
        "routing": {"domainStrategy": "AsIs" if private else "IPOnDemand", "rules": rules},
        "inbounds": [door, *map(_inbound, whole["inbounds"])],
        "outbounds": [
            {"tag": "direct", "protocol": "freedom", "settings": {}},
            {"tag": "nowhere", "protocol": "blackhole", "settings": {}},
        ],
    }


def _inbound(inbound: Tree) -> Tree:
    stream = inbound.get("streamSettings")
    return inbound if stream is None else inbound | {"streamSettings": stream | {"network": _network(stream)}}


def _network(stream: Mapping[str, Any]) -> str:
    named = str(stream.get("network", "tcp"))
    return _NETWORKS.get(named, named)
