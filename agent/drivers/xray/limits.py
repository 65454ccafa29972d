"""Holds users to their rates: packets of exactly their connections, dropped by the kernel beyond the rate.

Xray's host keeps this, since it hears of every connection first. A user's connections on an endpoint share
one limit a direction; TCP and QUIC slow down to it. What always holds: nobody but who has a rate is in the
table, which is there only while somebody has one; a change of a rate or a connection touches nothing else,
and is done whole or not at all.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from agent.drivers import nft
from agent.drivers.xray import barrier, sockets

#: A limit must let through the largest packet there is before it is cut up for the wire, or nothing passes.
BURST_BYTES = 65_536
#: Connections with a rate at once, of each version of IP and direction.
MOST = 65_535
_BYTES_PER_KILOBIT = 125
_TYPES = {"4": "ipv4_addr", "6": "ipv6_addr"}
_REST = "inet_proto . inet_service . inet_service"
_FAMILIES = {"4": "ip", "6": "ip6"}


#: A program is told when the kernel drops what it sends: QUIC takes that for the end of its connection, TCP
#: waits for half a second. So it is lost on its way instead: turned to the loopback interface, and dropped.
_MARK = "0x71de6a7e"
_LOSE = {
    "4": f"meta mark set {_MARK} ip daddr set 127.0.0.1",
    "6": f"meta mark set {_MARK} ip6 daddr set ::1",
}
_DROP = {"4": "drop", "6": "drop"}


class Rate(NamedTuple):
    """A user's highest speeds on an endpoint, in kbit/s; None is no limit."""

    up_kbps: int | None
    down_kbps: int | None


class Flow(NamedTuple):
    """One connection: `protocol` is tcp or udp, `port` the endpoint's."""

    protocol: str
    peer: sockets.Peer
    port: int


@dataclass(frozen=True)
class Plan:
    """Who has which rate, and whose each connection is: what the kernel is to hold, or holds."""

    rates: Mapping[str, Rate] = field(default_factory=dict)
    flows: Mapping[Flow, str] = field(default_factory=dict)


class Limits:
    """The table of one host. Every change takes some milliseconds, in which nothing else is done."""

    def __init__(self, table: str) -> None:
        self.problem: str | None = None
        self._table = table
        self._held = Plan()

    def concerns(self, flow: Flow, email: str) -> bool:
        """Whether something has to be done now that this connection is that account's."""
        return email in self._held.rates or flow in self._held.flows

    @property
    def rates(self) -> Mapping[str, Rate]:
        """The rates that are kept."""
        return self._held.rates

    def hold(self, plan: Plan) -> None:
        """Hold these users to these rates and nobody else; why it failed is in `problem`."""
        try:
            if plan.rates:
                begin = "" if self._held.rates else fresh(self._table)
                nft.run(begin + changed(self._table, self._held, plan))
            elif self._held.rates:
                nft.remove(self._table)
        except nft.NftError as error:
            self.problem = str(error)
        else:
            self.problem, self._held = None, plan

    def join(self, flows: Mapping[Flow, str]) -> None:
        """Hold these new connections too, and let go of those that have become somebody else's."""
        rates, before = self._held.rates, self._held.flows
        known = Plan(rates, {flow: before[flow] for flow in flows if flow in before})
        try:
            nft.run(changed(self._table, known, Plan(rates, flows)))
        except nft.NftError:
            # Whoever loads a firewall anew often empties all tables first, ours as well.
            self._held = Plan()
            self.hold(Plan(rates, {**before, **flows}))
        else:
            self._held = Plan(rates, {**before, **flows})


def fresh(table: str) -> str:
    """Make the table, without whatever an earlier one of that name held."""
    maps = [
        f" map {way}{version} {{ type {kind} . {_REST} : limit; size {MOST}; }}"
        for way in ("up", "down")
        for version, kind in _TYPES.items()
    ]
    return "\n".join(
        [
            f"table inet {table}",
            f"delete table inet {table}",
            f"table inet {table} {{",
            *maps,
            " chain input {",
            "  type filter hook input priority -140; policy accept;",
            *_rules("up", "s", "d", _DROP),
            " }",
            " chain output {",
            "  type route hook output priority -140; policy accept;",
            *_rules("down", "d", "s", _LOSE),
            " }",
            " chain lost {",
            "  type filter hook prerouting priority -300; policy accept;",
            f'  iif "lo" meta mark {_MARK} drop',
            " }",
            "}",
            "",
        ]
    )


def changed(table: str, held: Plan, wanted: Plan) -> str:
    """From what the kernel holds to what it is to hold."""
    before, after = _elements(held), _elements(wanted)
    gone = [key for key, limit in before.items() if after.get(key) != limit]
    new = [(key, limit) for key, limit in after.items() if before.get(key) != limit]
    old_limits, new_limits = _limits(held), _limits(wanted)
    lines = [
        f"add limit inet {table} {name} {{ rate over {rate} bytes/second burst {BURST_BYTES} bytes; }}"
        for name, rate in new_limits.items()
        if name not in old_limits
    ]
    lines += [f"delete element inet {table} {name} {{ {element} }}" for name, element in gone]
    lines += [
        f'add element inet {table} {name} {{ {element} : "{limit}" }}' for (name, element), limit in new
    ]
    lines += [f"delete limit inet {table} {name}" for name in old_limits if name not in new_limits]
    return "\n".join([*lines, ""])


def _rules(way: str, client: str, endpoint: str, verdict: Mapping[str, str]) -> Iterator[str]:
    for version, family in _FAMILIES.items():
        key = f"{family} {client}addr . meta l4proto . th {client}port . th {endpoint}port"
        yield f"  limit name {key} map @{way}{version} {verdict[version]}"


def _limits(plan: Plan) -> dict[str, int]:
    return {
        _name(email, way, kbps): kbps * _BYTES_PER_KILOBIT
        for email, rate in plan.rates.items()
        for way, kbps in zip(("up", "down"), rate, strict=True)
        if kbps is not None
    }


def _elements(plan: Plan) -> dict[tuple[str, str], str]:
    """The limit of each connection, by the name of the map and the key in it."""
    found: dict[tuple[str, str], str] = {}
    for flow, email in plan.flows.items():
        rate = plan.rates.get(email)
        if rate is None:
            continue
        version, address, client_port = barrier.key_of(flow.peer)
        key = f"{address} . {flow.protocol} . {client_port} . {flow.port}"
        for way, kbps in zip(("up", "down"), rate, strict=True):
            if kbps is not None:
                found[f"{way}{version}", key] = _name(email, way, kbps)
    return found


def _name(email: str, way: str, kbps: int) -> str:
    """A limit cannot change its rate, so the rate is in its name."""
    return f"{email.replace('-', '_')}_{way}_{kbps}"
