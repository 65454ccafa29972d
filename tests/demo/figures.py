"""What the demo measured, and whether each figure is right. Pure: the story measures, this judges."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

#: A cut must be seen by the client this soon after his quota's last byte: one tick of the node and the cut.
CUT_SEEN_WITHIN_MS = 1_000.0
#: And made by the node this soon after the reading that showed the breach.
CUT_MADE_WITHIN_MS = 250.0


@dataclass(frozen=True, kw_only=True)
class Bill:
    """One user's bytes, both ways: what his client had, what the core counted, what the collector charged."""

    name: str
    how: str
    delivered_bytes: int
    counted_bytes: int
    billed_bytes: int
    quota_bytes: int | None

    @property
    def difference_bytes(self) -> int:
        """Billed beyond delivered. A complete download has none; in a cut one it is what was in flight."""
        return self.billed_bytes - self.delivered_bytes


@dataclass(frozen=True, kw_only=True)
class Tunnel:
    """A WireGuard user's bytes, both ways: what arrived, what `wg` says at the node, what is charged."""

    name: str
    how: str
    delivered_bytes: int
    counted_bytes: int
    billed_bytes: int


@dataclass(frozen=True, kw_only=True)
class Outage:
    """The collector was killed and came back: bytes that passed without it, bytes billed before and after."""

    lasted_ms: float
    passed_bytes: int
    billed_before_bytes: int
    billed_after_bytes: int


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Everything measured. `left_out` says what could not be proved here.

    `tunnel` is None where there is no WireGuard; `cut_judged` is false where a cut cannot be exact.
    """

    cut_user: Bill
    neighbour: Bill
    outage: Outage
    cut_seen_ms: float | None
    cut_made_ms: float | None
    new_connection: str
    tunnel: Tunnel | None = None
    cut_judged: bool = True
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Check:
    """One claim, and whether the figures bear it out."""

    claim: str
    holds: bool


def checks(figures: Figures) -> list[Check]:
    """All claims that can be proved here, in the order of the story."""
    cut, neighbour, outage = figures.cut_user, figures.neighbour, figures.outage
    always = [
        Check("the collector's restart stopped no download", outage.passed_bytes > 0),
        Check(
            "the collector's restart lost no billed byte",
            outage.billed_after_bytes >= outage.billed_before_bytes,
        ),
        Check(f"{cut.name} is billed what the core counted", cut.billed_bytes == cut.counted_bytes),
        Check(f"{cut.name} is billed every byte delivered", cut.difference_bytes >= 0),
        Check(f"{cut.name} is refused a new connection", figures.new_connection == "refused"),
        Check(f"{neighbour.name} is billed what the core counted", _counted(neighbour)),
        Check(
            f"{neighbour.name} is billed the bytes delivered, to the byte", neighbour.difference_bytes == 0
        ),
        Check(f"{neighbour.name}'s download went on to its end", neighbour.how == "complete"),
    ]
    return [
        *always,
        *(_cut_checks(figures) if figures.cut_judged else ()),
        *(_tunnel_checks(figures.tunnel) if figures.tunnel else ()),
    ]


def rows(figures: Figures) -> list[tuple[str, int, int, int, str]]:
    """Lines of the final table: user, delivered, billed, difference, verdict."""
    bills = [_row(bill) for bill in (figures.cut_user, figures.neighbour)]
    return [*bills, _tunnel_row(figures.tunnel)] if figures.tunnel else bills


def summary(figures: Figures, found: Sequence[Check]) -> dict[str, object]:
    """The last line: all figures, and `ok` only when every claim holds."""
    broken = [check.claim for check in found if not check.holds]
    measured = {name: value for name, value in asdict(figures).items() if name != "cut_judged"}
    return {"ok": not broken, "broken": broken, **measured}


def _cut_checks(figures: Figures) -> list[Check]:
    cut = figures.cut_user
    return [
        Check(f"{cut.name} was cut in the middle of a download", cut.how == "cut"),
        Check(f"{cut.name}'s client saw the cut in time", _within(figures.cut_seen_ms, CUT_SEEN_WITHIN_MS)),
        Check("the node made the cut in time", _within(figures.cut_made_ms, CUT_MADE_WITHIN_MS)),
    ]


def _tunnel_checks(tunnel: Tunnel) -> list[Check]:
    return [
        Check(
            f"{tunnel.name} is billed what wg counted at the node, to the byte",
            tunnel.billed_bytes == tunnel.counted_bytes,
        ),
        Check(
            f"{tunnel.name}'s tunnel delivered no more than was billed",
            0 < tunnel.delivered_bytes <= tunnel.billed_bytes,
        ),
        Check(f"{tunnel.name}'s download over the tunnel went on to its end", tunnel.how == "complete"),
    ]


def _tunnel_row(tunnel: Tunnel) -> tuple[str, int, int, int, str]:
    right = tunnel.billed_bytes == tunnel.counted_bytes
    verdict = "as wg counted, packets and all" if right else "WRONG: wg counted otherwise"
    more = tunnel.billed_bytes - tunnel.delivered_bytes
    return tunnel.name, tunnel.delivered_bytes, tunnel.billed_bytes, more, f"{tunnel.how}, {verdict}"


def _row(bill: Bill) -> tuple[str, int, int, int, str]:
    exact = "to the byte" if bill.difference_bytes == 0 else "billed as counted, the rest was in flight"
    verdict = f"{bill.how}, {exact}" if _counted(bill) else f"{bill.how}, WRONG: core counted otherwise"
    return bill.name, bill.delivered_bytes, bill.billed_bytes, bill.difference_bytes, verdict


def _counted(bill: Bill) -> bool:
    return bill.billed_bytes == bill.counted_bytes


def _within(measured_ms: float | None, limit_ms: float) -> bool:
    return measured_ms is not None and measured_ms <= limit_ms
